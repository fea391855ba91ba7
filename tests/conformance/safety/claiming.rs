//! Claims: which jobs, when, and how many at once.

use std::sync::Arc;

use jobwright_core::clock::after;
use jobwright_core::job::{JobState, Payload, Phase, Verdict};
use jobwright_core::limits::Limits;
use jobwright_core::store::{Claim, Claimed, JobFilter};

use crate::conformance::drafts::{Draft as _, at, job, jobs, paused};
use crate::conformance::fixture::{Fixture, LEASE, want};
use crate::conformance::laws;

laws![
    enqueued_job_is_claimable,
    an_empty_store_has_nothing_to_claim,
    future_job_is_not_claimable_before_its_time,
    a_time_that_has_passed_means_now,
    absolute_times_follow_the_wall_clock_and_delays_do_not,
    a_job_for_a_time_is_scheduled_until_the_wall_clock_says_so,
    claim_never_returns_more_than_asked,
    claim_stays_within_the_requested_memory,
    claim_reports_when_the_next_job_is_due,
    two_claimers_never_share_a_job,
    claim_increments_attempt,
    a_claim_carries_payload_and_spec_unchanged,
];

async fn enqueued_job_is_claimable(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let leased = store.claim_one(at(1)).await?;
    assert_eq!((leased.job.id, leased.lease.job), (id, id));
    assert_eq!((leased.lease.attempt, leased.lease.expires_at), (1, after(at(1), LEASE)));
    assert_eq!(leased.job.lifecycle.state, JobState::Running);
    assert_eq!(leased.job.lifecycle.attempted_at, Some(at(1)));
    assert_eq!(store.job(id).await?, leased.job);
    Ok(())
}

async fn an_empty_store_has_nothing_to_claim(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(store.claim(want(10, at(0)), at(0)).await?, Claimed::default());
    Ok(())
}

async fn future_job_is_not_claimable_before_its_time(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().due(at(10)), at(0)).await?;
    assert_eq!(store.claim_all(at(9)).await?, []);
    assert_eq!(store.claim_all(at(10)).await?, [id]);
    Ok(())
}

async fn a_time_that_has_passed_means_now(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().due(at(3)), at(10)).await?;
    assert_eq!(store.job(id).await?.lifecycle.scheduled_at, at(10));
    Ok(())
}

/// What every attempt takes in addition to the memory of its guest, in bytes.
const EACH: u64 = Limits::ATTEMPT_BYTES;

async fn absolute_times_follow_the_wall_clock_and_delays_do_not(
    store: Fixture,
) -> anyhow::Result<()> {
    let span = store.accept(job().due(at(60)), at(0)).await?;
    let mut given = job().queue("given").due(at(3600));
    given.on_wall = true;
    let given = store.accept(given, at(0)).await?;
    // The wall clock is set forward by an hour, and back by two.
    let claim = async |now: i64, wall: i64| {
        let claimed = store.claim(Claim { wall: at(wall), ..want(9, at(now)) }, at(now)).await?;
        let ids: Vec<_> = claimed.leased.iter().map(|leased| leased.job.id).collect();
        anyhow::Ok((ids, claimed.next_due))
    };
    assert_eq!(claim(1, 1).await?, (vec![], Some(at(60))));
    assert_eq!(claim(2, 3599).await?, (vec![], Some(at(3))));
    assert_eq!(claim(3, 3600).await?, (vec![given], Some(at(60))));
    assert_eq!(claim(59, -3541).await?, (vec![], Some(at(60))));
    assert_eq!(claim(60, -3540).await?, (vec![span], None));
    Ok(())
}

async fn a_job_for_a_time_is_scheduled_until_the_wall_clock_says_so(
    store: Fixture,
) -> anyhow::Result<()> {
    let mut given = job().due(at(3600));
    given.on_wall = true;
    let id = store.accept(given, at(0)).await?;
    for (now, wall, phase) in [(4000, 3599, Phase::Scheduled), (4001, 3600, Phase::Available)] {
        store.claim(Claim { wall: at(wall), ..want(0, at(now)) }, at(now)).await?;
        assert_eq!(store.job(id).await?.lifecycle.phase(at(now)), phase);
        let filter = JobFilter { phase: Some(phase), ..JobFilter::default() };
        assert_eq!(store.walk(filter, 9, at(now)).await?.len(), 1);
        let parked = usize::from(phase == Phase::Scheduled);
        assert_eq!(store.queue("default", at(now)).await?.parked, parked);
    }
    Ok(())
}

async fn claim_never_returns_more_than_asked(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(5), at(0)).await?;
    for (asked, given) in [(0, 0), (2, 2), (1, 1), (9, 2), (9, 0)] {
        assert_eq!(store.claim_up_to(asked, at(0)).await?.len(), given, "asked for {asked}");
    }
    Ok(())
}

async fn claim_stays_within_the_requested_memory(store: Fixture) -> anyhow::Result<()> {
    let sizes = [1, 40, 60, 1];
    store.enqueue(sizes.map(|bytes| job().memory(bytes)).into(), at(0)).await?;
    store.claim_one(at(0)).await?;
    for (memory_bytes, given) in [(EACH + 39, 0), (2 * EACH + 100, 2), (0, 0), (EACH + 1, 1)] {
        let want = Claim { memory_bytes, ..want(9, at(0)) };
        let claimed = store.claim(want, at(0)).await?;
        assert_eq!(claimed.leased.len(), given, "with {memory_bytes} bytes of memory");
    }
    Ok(())
}

async fn claim_reports_when_the_next_job_is_due(store: Fixture) -> anyhow::Result<()> {
    let drafts = vec![job(), job().due(at(20)), job().due(at(10)), job().queue("off").due(at(5))];
    store.enqueue(drafts, at(0)).await?;
    store.set_held(paused("off"), Some(Default::default())).await?;
    // The job in the paused queue counts as due from then on.
    for (now, next_due) in [(0, Some(at(5))), (5, Some(at(10))), (10, Some(at(20))), (20, None)] {
        assert_eq!(store.claim(want(9, at(now)), at(now)).await?.next_due, next_due, "at {now} s");
    }
    Ok(())
}

async fn two_claimers_never_share_a_job(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let claimers = (0..8).map(|_| {
        let store = store.handle();
        tokio::spawn(async move {
            let want = want(3, at(0));
            let mut mine = Vec::new();
            loop {
                let leased = store.claim(want, at(0)).await?.leased;
                if leased.is_empty() {
                    return anyhow::Ok(mine);
                }
                mine.extend(leased.into_iter().map(|leased| leased.job.id));
            }
        })
    });
    let mut claimed = Vec::new();
    for claimer in claimers.collect::<Vec<_>>() {
        claimed.extend(claimer.await??);
    }
    assert_eq!(claimed.len(), 200);
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 200, "some job was claimed twice");
    Ok(())
}

async fn claim_increments_attempt(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    for attempt in 1..=4 {
        let leased = store.claim_one(at(0)).await?;
        assert_eq!((leased.lease.attempt, leased.job.lifecycle.attempt), (attempt, attempt));
        store.finish_with(&leased, Verdict::Retry { at: at(0) }, at(0)).await?;
    }
    Ok(())
}

async fn a_claim_carries_payload_and_spec_unchanged(store: Fixture) -> anyhow::Result<()> {
    let bytes = [vec![], vec![0], b"a\0b\xff\r\n".to_vec(), vec![7; 1 << 20]];
    let types = [None, Some(String::new()), Some("text/plain; a=\"ä\"".to_owned())];
    for bytes in bytes {
        for content_type in types.clone() {
            let mut draft = job();
            draft.payload = Payload { content_type, bytes: bytes.clone().into() };
            Arc::make_mut(&mut draft.spec).args =
                vec![String::new(), "a\0b".to_owned(), "\"ä\" 🦀".to_owned()];
            Arc::make_mut(&mut draft.spec).env = [("NAME".to_owned(), "a\nb".to_owned())].into();
            Arc::make_mut(&mut draft.spec).output_type = Some("image/png".to_owned());
            store.accept(draft.clone(), at(0)).await?;
            let leased = store.claim_one(at(0)).await?;
            assert_eq!((leased.payload, leased.job.spec), (draft.payload, draft.spec));
        }
    }
    Ok(())
}
