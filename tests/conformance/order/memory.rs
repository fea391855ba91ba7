//! The order of jobs that need more memory than is free.

use std::sync::Arc;

use jobwright_core::limits::Limits;
use jobwright_core::store::Claim;

use crate::conformance::drafts::{Draft as _, at, job, of};
use crate::conformance::fixture::{Fixture, want};
use crate::conformance::laws;

laws![
    a_job_that_does_not_fit_is_not_overtaken,
    a_job_too_large_for_the_budget_runs_when_no_other_does,
    a_job_that_does_not_fit_lets_those_of_other_tenants_pass_for_a_while,
];

/// What every attempt takes in addition to the memory of its guest, in bytes.
const EACH: u64 = Limits::ATTEMPT_BYTES;

/// Otherwise a large job could wait for ever behind a stream of small ones.
async fn a_job_that_does_not_fit_is_not_overtaken(store: Fixture) -> anyhow::Result<()> {
    let sizes = [1, 80, 1];
    store.enqueue(sizes.map(|bytes| job().memory(bytes)).into(), at(0)).await?;
    let memory_bytes = EACH + 50;
    let want = Claim { memory_bytes, ..want(9, at(0)) };
    assert_eq!(store.claim(want, at(0)).await?.leased.len(), 1);
    assert_eq!(store.claim(want, at(0)).await?.leased, []);
    Ok(())
}

/// Otherwise a job accepted under a larger budget would wait for ever, and all jobs behind it.
async fn a_job_too_large_for_the_budget_runs_when_no_other_does(
    store: Fixture,
) -> anyhow::Result<()> {
    let large = store.accept(job().memory(80), at(0)).await?;
    store.accept(job().memory(1), at(0)).await?;
    let want = Claim { memory_bytes: EACH + 50, ..want(9, at(0)) };
    // An attempt whose lease was lost may still be running.
    assert_eq!(store.claim(Claim { idle: false, ..want }, at(0)).await?.leased, []);
    let leased = store.claim(want, at(0)).await?.leased;
    assert_eq!(leased.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [large]);
    Ok(())
}

async fn a_job_that_does_not_fit_lets_those_of_other_tenants_pass_for_a_while(
    store: Fixture,
) -> anyhow::Result<()> {
    let mut large = of("a");
    Arc::make_mut(&mut large.spec).limits.memory_bytes = 1 << 30;
    let small = || of("b");
    store.accept(large, at(0)).await?;
    // Behind it, a job of the same tenant.
    store.accept(of("a").priority(4), at(0)).await?;
    let room = 2 * small().spec.limits.host_bytes();
    let claim = async |now: i64| {
        let want = Claim { memory_bytes: room, idle: false, ..want(9, at(now)) };
        let leased = store.claim(want, at(now)).await?.leased;
        anyhow::Ok(leased.iter().map(|leased| leased.job.id).collect::<Vec<_>>())
    };
    let first = store.accept(small(), at(0)).await?;
    assert_eq!(claim(1).await?, [first]);
    let second = store.accept(small(), at(59)).await?;
    assert_eq!(claim(59).await?, [second]);
    store.accept(small(), at(60)).await?;
    assert_eq!(claim(60).await?, [], "its turn has come, as soon as there is room");
    Ok(())
}
