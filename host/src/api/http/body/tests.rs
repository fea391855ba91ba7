use super::*;
use crate::shares::table::BODIES;

fn bodies(units: u64, deadline: Duration) -> TenantBodies {
    let bodies = Bodies { room: Shares::sized(&BODIES, units), deadline };
    bodies.of(&TenantName::default())
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let bodies = bodies(8, Duration::from_millis(20));
    let endless = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let answer = bodies.read("payload", &HeaderMap::new(), endless, 10).await;
    let problem = answer.expect_err("it never ended").problem();
    assert_eq!((&problem["status"], &problem["code"]), (&408.into(), &"body_timeout".into()));
}

#[tokio::test]
async fn a_body_is_refused_while_it_is_read_not_after() {
    let bodies = bodies(8, READ_DEADLINE);
    // Without a length, and endless: only a limit that counts while reading can end this.
    let chunk = || Some((Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024])), ()));
    let flood = futures_util::stream::unfold((), move |()| async move { chunk() });
    let answer = bodies.read("payload", &HeaderMap::new(), Body::from_stream(flood), 4096).await;
    assert_eq!(answer.expect_err("too large").problem()["status"], 413);
}

#[tokio::test]
async fn the_bodies_of_a_tenant_take_no_more_than_its_share() {
    let bodies = bodies(8, READ_DEADLINE);
    let read = async |units: u64| {
        let body = Body::from(vec![0; (units * UNIT_BYTES) as usize]);
        bodies.read("payload", &HeaderMap::new(), body, 100 * UNIT_BYTES).await
    };
    let held = read(4).await.expect("there is room");
    assert_eq!(read(1).await.expect_err("it has half").problem()["code"], "busy");
    drop(held);
    read(4).await.expect("all was given back");
}

#[tokio::test]
async fn the_longest_body_fits_whatever_it_is_set_to() {
    let longest = 300 << 20;
    let bodies = Bodies::new(&BODIES, longest);
    let share = bodies.room.of(&TenantName::default());
    let mut place = share.try_acquire(1u64).expect("there is room");
    for _ in 1..units(longest) {
        place.grow(1).expect("it is not read to its end");
    }
}
