use super::*;
use crate::shares::table::BODIES;

fn raw(body: Body) -> RawBody {
    RawBody { headers: HeaderMap::new(), body }
}

fn bodies(units: u64, deadline: Duration) -> TenantBodies {
    let bodies = Bodies { permits: Shares::sized(&BODIES, units), deadline };
    bodies.of(&TenantName::default())
}

#[tokio::test]
async fn a_body_that_never_ends_times_out() {
    let bodies = bodies(8, Duration::from_millis(20));
    let endless = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let result = bodies.read(raw(endless), "payload", 10).await;
    let problem = result.expect_err("it never ended").problem();
    assert_eq!((&problem["status"], &problem["code"]), (&408.into(), &"body_timeout".into()));
}

#[tokio::test]
async fn a_body_is_refused_as_soon_as_it_is_too_long() {
    let bodies = bodies(8, READ_DEADLINE);
    // The body has no length and no end: only a limit that is checked while reading can end this.
    let chunk = || Some((Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024])), ()));
    let flood = futures_util::stream::unfold((), move |()| async move { chunk() });
    let result = bodies.read(raw(Body::from_stream(flood)), "payload", 4096).await;
    assert_eq!(result.expect_err("too large").problem()["status"], 413);
}

#[tokio::test]
async fn bodies_of_a_tenant_stay_within_its_share() {
    let bodies = bodies(8, READ_DEADLINE);
    let read = async |units: u64| {
        let body = Body::from(vec![0; (units * UNIT_BYTES) as usize]);
        bodies.read(raw(body), "payload", 100 * UNIT_BYTES).await
    };
    let received = read(4).await.expect("within the share");
    assert_eq!(read(1).await.expect_err("it uses half of the budget").problem()["code"], "busy");
    drop(received);
    read(4).await.expect("all permits were released");
}

#[tokio::test]
async fn the_longest_body_fits_for_any_configured_length() {
    let longest = 300 << 20;
    let bodies = Bodies::new(&BODIES, longest);
    let share = bodies.permits.of(&TenantName::default());
    let mut permit = share.try_acquire(1u64).expect("within the share");
    for _ in 1..units(longest) {
        permit.grow(1).expect("within the share");
    }
}
