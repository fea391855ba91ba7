use super::*;

const STEP: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn simulated(step: u64) -> Clocks {
    Clocks { wall: 1_000 * SECOND, step, time: Time::Simulated(Arc::new(Simulated::new(step))) }
}

#[test]
fn each_reading_advances_the_common_time_of_deterministic_clocks() {
    let clocks = simulated(STEP);
    assert_eq!(clocks.monotonic(), ORIGIN);
    assert_eq!(clocks.wall(), 1_000 * SECOND + STEP);
    assert_eq!(clocks.monotonic(), ORIGIN + 2 * STEP);
}

#[test]
fn clocks_show_whole_steps_only() {
    let clocks = Clocks { wall: 1_234_567_891, ..simulated(STEP) };
    assert_eq!(clocks.wall(), 1_234_000_000);
    assert_eq!(Clocks { step: 1, ..clocks.clone() }.wall(), 1_234_567_891 + STEP);
    let real = Clocks { time: Time::Real(Stopwatch::start()), ..clocks };
    assert_eq!((real.wall() % STEP, real.monotonic() % STEP), (0, 0));
}

#[test]
fn the_monotonic_clock_is_far_from_zero_whatever_its_step() {
    for step in [1, 1_000, STEP, SECOND, 7 * SECOND, u64::from(u32::MAX) * 1_000] {
        assert!(simulated(step).monotonic() > ORIGIN / 2, "{step}");
    }
}

#[test]
fn a_timer_expires_when_its_clock_shows_the_time() {
    let clocks = simulated(STEP);
    for (due, moment) in [
        (Due::After(5), 105),
        (Due::After(u64::MAX), u64::MAX),
        (Due::Monotonic(ORIGIN + STEP), STEP),
        (Due::Monotonic(ORIGIN + STEP + 1), 2 * STEP),
        (Due::Monotonic(u64::MAX), u64::MAX - ORIGIN),
        (Due::Monotonic(0), 0),
        (Due::Wall(1_000 * SECOND + 1), STEP),
        (Due::Wall(5), 0),
    ] {
        assert_eq!(clocks.moment(due, 100), moment, "{due:?}");
    }
}

#[tokio::test]
async fn a_sleep_moves_a_deterministic_clock_to_its_end() {
    let clocks = simulated(STEP);
    let start = clocks.monotonic();
    clocks.timer(Due::After(20 * STEP)).expire().await;
    let end = clocks.monotonic();
    assert!((20 * STEP..25 * STEP).contains(&(end - start)), "{}", end - start);
    // One that is over moves nothing but by being looked at.
    clocks.timer(Due::Monotonic(start)).expire().await;
    assert!(clocks.monotonic() - end <= 3 * STEP);
}
