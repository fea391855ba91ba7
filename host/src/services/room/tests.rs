use super::*;

fn part(host: &HostRoom, tenant: &str, bytes: u64) -> Room {
    host.part(&tenant.parse().expect("a name"), bytes)
}

#[test]
fn attempts_of_a_tenant_hold_half_of_all_and_leave_the_rest_to_others() {
    let host = HostRoom::default();
    let attempt = |tenant: &str| part(&host, tenant, 64 << 20).take(64 << 20);
    let held = [attempt("a"), attempt("a")].map(|place| place.expect("within its half"));
    let refused = attempt("a").expect_err("more than half");
    let why = "its tenant holds 128 MiB of bodies, its maximum";
    assert_eq!(refused, HttpRequestError::NoRoom(why.to_owned()));
    let _others = attempt("b").expect("room of its own");
    drop(held);
    attempt("a").expect("it was given back");
}

#[test]
fn a_body_is_counted_until_the_last_of_it_is_let_go() {
    let host = HostRoom::default();
    let all = || host.0.available();
    let before = all();
    let mut body = part(&host, "a", 1 << 20).body(1 << 20);
    body.push(&[7; 10_000]).expect("there is room");
    body.push(&[8; 10_000]).expect("there is room");
    let bytes = body.into_bytes();
    let part = bytes.slice(9_999..10_001);
    assert_eq!(&part[..], [7, 8]);
    drop(bytes);
    assert!(all() < before, "a part holds the whole");
    drop(part);
    assert_eq!(all(), before);
}

#[test]
fn an_attempt_holds_no_more_than_its_part() {
    let room = part(&HostRoom::default(), "a", 1 << 20);
    let mut held = vec![];
    let refused = loop {
        let mut body = room.body(1 << 20);
        match body.push(&[0; 100_000]) {
            Ok(()) => held.push(body.into_bytes()),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, HttpRequestError::NoRoom(_)), "{refused}");
    assert!((10..=13).contains(&held.len()), "{}", held.len());
    held.clear();
    room.body(1 << 20).push(&[0; 1 << 20]).expect("all was given back");
}

#[test]
fn what_is_taken_keeps_its_room_and_leaves_more_to_come() {
    let host = HostRoom::default();
    let before = host.0.available();
    let mut body = part(&host, "a", 1 << 20).body(1 << 20);
    body.push(&[7; 10_000]).expect("there is room");
    let taken = body.take();
    body.push(&[8; 10]).expect("there is room");
    assert_eq!((taken.as_ref().len(), body.as_ref()), (10_000, &[8; 10][..]));
    drop(body);
    assert!(host.0.available() < before);
    drop(taken);
    assert_eq!(host.0.available(), before);
}
