use super::*;

fn attempt(host: &HostBodyBudget, tenant: &str, bytes: u64) -> BodyBudget {
    host.of_attempt(&tenant.parse().expect("a name"), bytes)
}

#[test]
fn a_tenant_can_use_half_of_the_budget_of_the_host() {
    let host = HostBodyBudget::default();
    let acquire = |tenant: &str| attempt(&host, tenant, 64 << 20).try_acquire(64 << 20);
    let permits = [acquire("a"), acquire("a")].map(|permit| permit.expect("within its half"));
    let refused = acquire("a").expect_err("more than half");
    let why = "its tenant holds bodies of 128 MiB, its maximum";
    assert_eq!(refused, HttpRequestError::NoRoom(why.to_owned()));
    let _others = acquire("b").expect("a share of its own");
    drop(permits);
    acquire("a").expect("the permits were released");
}

#[test]
fn a_body_counts_until_its_last_slice_is_dropped() {
    let host = HostBodyBudget::default();
    let available = || host.0.available();
    let before = available();
    let mut body = attempt(&host, "a", 1 << 20).buffer(1 << 20);
    body.push(&[7; 10_000]).expect("within the budget");
    body.push(&[8; 10_000]).expect("within the budget");
    let bytes = body.into_bytes();
    let slice = bytes.slice(9_999..10_001);
    assert_eq!(&slice[..], [7, 8]);
    drop(bytes);
    assert!(available() < before, "a slice keeps the whole body");
    drop(slice);
    assert_eq!(available(), before);
}

#[test]
fn an_attempt_holds_at_most_its_own_budget() {
    let budget = attempt(&HostBodyBudget::default(), "a", 1 << 20);
    let mut bodies = vec![];
    let refused = loop {
        let mut body = budget.buffer(1 << 20);
        match body.push(&[0; 100_000]) {
            Ok(()) => bodies.push(body.into_bytes()),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, HttpRequestError::NoRoom(_)), "{refused}");
    assert!((10..=13).contains(&bodies.len()), "{}", bodies.len());
    bodies.clear();
    budget.buffer(1 << 20).push(&[0; 1 << 20]).expect("all permits were released");
}

#[test]
fn taken_contents_keep_their_permits_and_the_buffer_can_be_filled_again() {
    let host = HostBodyBudget::default();
    let before = host.0.available();
    let mut body = attempt(&host, "a", 1 << 20).buffer(1 << 20);
    body.push(&[7; 10_000]).expect("within the budget");
    let taken = body.take();
    body.push(&[8; 10]).expect("within the budget");
    assert_eq!((taken.as_ref().len(), body.as_ref()), (10_000, &[8; 10][..]));
    drop(body);
    assert!(host.0.available() < before);
    drop(taken);
    assert_eq!(host.0.available(), before);
}
