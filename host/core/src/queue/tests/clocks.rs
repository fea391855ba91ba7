//! Times of the wall clock, and spans of the host's clock.

use super::fixture::{Fixture, at, id, labels, want};
use crate::capacity::CapacityLimits;
use crate::job::{Lifecycle, Phase, Priority};
use crate::queue::{Claim, Entry};

#[test]
fn a_time_that_a_client_gave_is_one_of_the_wall_clock_and_a_span_is_not() {
    let hours = 7200;
    for set in [-hours, hours] {
        let mut fixture = Fixture::new();
        fixture.add(1, "a", 2, 50);
        let permit = fixture.capacity.readmit(&labels("default", "b"), 0);
        let lifecycle = Lifecycle { on_wall: true, ..Lifecycle::new(at(50 + set)) };
        let priority = Priority::default();
        let (memory_bytes, payload_bytes, row) = (1, 0, 100);
        let entry = Entry { priority, memory_bytes, payload_bytes, lifecycle, row, permit };
        fixture.queue.insert(id(2), entry, at(0));
        let mut claim = |now: i64| {
            let want = Claim { wall: at(now + set), ..want(now) };
            (fixture.queue.claim(&want, at(now)).len(), fixture.queue.next_due())
        };
        assert_eq!(claim(49), (0, Some(at(50))), "set by {set} s");
        assert_eq!(claim(50), (2, None), "set by {set} s");
        assert_eq!(fixture.queue.take_fallen_due(), [id(2)]);
    }
}

#[test]
fn a_job_for_a_time_counts_as_scheduled_until_the_wall_clock_reaches_it() {
    for (set, depths) in [(-7200, (1, 0)), (7200, (0, 1))] {
        let mut fixture = Fixture::new();
        let permit = fixture.capacity.readmit(&labels("default", "a"), 0);
        let lifecycle = Lifecycle { on_wall: true, ..Lifecycle::new(at(3600)) };
        let priority = Priority::default();
        let (memory_bytes, payload_bytes, row) = (1, 0, 100);
        let entry = Entry { priority, memory_bytes, payload_bytes, lifecycle, row, permit };
        fixture.queue.insert(id(1), entry, at(0));
        // By the host's clock its time has come where it has not by the wall clock, and the reverse.
        let now = 3600 - set / 2;
        fixture.queue.claim(&Claim { max: 0, wall: at(now + set), ..want(now) }, at(now));
        let counts = fixture.queue.counts(at(now), &CapacityLimits::default());
        assert_eq!(
            (counts[0].parked, counts[0].depth - counts[0].parked),
            depths,
            "set by {set} s"
        );
        let phase = fixture.queue.lifecycle(id(1)).map(|lifecycle| lifecycle.phase(at(now)));
        let shown = [Phase::Available, Phase::Scheduled][depths.0];
        assert_eq!(phase, Some(shown), "set by {set} s");
    }
}
