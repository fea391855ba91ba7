//! What is claimed, when, in which order and how much at once.

use jobwright_core::clock::after;
use jobwright_core::job::{JobState, Payload, Phase, Verdict};
use jobwright_core::limits::Limits;
use jobwright_core::queue::{Reserve, Room};
use jobwright_core::store::{Claim, Claimed, JobFilter};

use super::drafts::{Draft as _, at, job, jobs, named, of, paused};
use super::fixture::{Fixture, LEASE, want};
use super::laws;

laws![
    enqueued_job_is_claimable,
    an_empty_store_has_nothing_to_claim,
    future_job_is_not_claimable_before_its_time,
    a_time_that_has_passed_means_now,
    jobs_of_a_queue_go_by_due_time_with_a_head_start_then_arrival,
    a_job_of_the_lowest_priority_is_overtaken_for_its_head_start_and_no_longer,
    a_flood_of_one_queue_does_not_hold_up_another,
    a_queue_that_has_filled_the_host_leaves_room_for_another,
    a_queue_that_is_alone_may_fill_the_host,
    times_of_clients_follow_the_wall_clock_and_spans_do_not,
    a_job_for_a_time_is_scheduled_until_the_wall_clock_says_so,
    claim_never_returns_more_than_asked,
    claim_keeps_within_the_memory_asked_for,
    a_job_that_does_not_fit_is_not_overtaken,
    a_job_too_large_for_the_budget_runs_when_no_other_does,
    claim_tells_when_the_next_job_is_due,
    two_claimers_never_share_a_job,
    claim_increments_attempt,
    a_claim_carries_payload_and_spec_unchanged,
    a_paused_queue_is_passed_by_and_resumes_in_order,
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

/// What every attempt takes beside the memory that it may have.
const EACH: u64 = Limits::ATTEMPT_BYTES;

async fn jobs_of_a_queue_go_by_due_time_with_a_head_start_then_arrival(
    store: Fixture,
) -> anyhow::Result<()> {
    let drafts = [
        job().priority(4),
        job().priority(2).due(at(5)),
        job().priority(2).due(at(3)),
        job().priority(2).due(at(3)),
        job().priority(1).due(at(9)),
        job().priority(2).due(at(3)),
    ];
    let ids = drafts.each_ref().map(|draft| draft.id);
    store.enqueue(drafts.into(), at(0)).await?;
    let order = [4, 2, 3, 5, 1, 0].map(|place: usize| ids[place]);
    assert_eq!(store.claim_all(at(9)).await?, order);
    Ok(())
}

/// Else it would never begin while others keep coming.
async fn a_job_of_the_lowest_priority_is_overtaken_for_its_head_start_and_no_longer(
    store: Fixture,
) -> anyhow::Result<()> {
    let low = store.accept(job().priority(4), at(0)).await?;
    let overtaking = store.accept(job().priority(1).due(at(899)), at(0)).await?;
    let late = store.accept(job().priority(1).due(at(900)), at(0)).await?;
    assert_eq!(store.claim_all(at(900)).await?, [overtaking, low, late]);
    Ok(())
}

async fn a_flood_of_one_queue_does_not_hold_up_another(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(20), at(0)).await?;
    store.claim_up_to(2, at(1)).await?;
    let other = store.accept(job().queue("other").priority(4), at(1)).await?;
    assert_eq!(store.claim_one(at(2)).await?.job.id, other);
    assert_eq!(store.claim_one(at(2)).await?.job.spec.queue, named("default"));
    Ok(())
}

/// A claim on a host of 64 slots, of which `free` are free.
fn on_host(free: usize, now: i64) -> Claim {
    let host = Room { attempts: 64, memory_bytes: u64::MAX };
    Claim { idle: false, reserve: Reserve::new(host, 8), ..want(free, at(now)) }
}

async fn a_queue_that_has_filled_the_host_leaves_room_for_another(
    store: Fixture,
) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let running = store.claim(on_host(64, 0), at(0)).await?;
    assert_eq!((running.leased.len(), running.more), (56, true));
    for tenant in ["default", "other"] {
        let mut other = of(tenant).queue("other");
        other.spec.priority = 4.try_into()?;
        let id = store.accept(other, at(1)).await?;
        let leased = store.claim(on_host(8, 1), at(1)).await?.leased;
        assert_eq!(leased.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [id]);
    }
    Ok(())
}

async fn a_queue_that_is_alone_may_fill_the_host(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(200), at(0)).await?;
    let mut running = store.claim(on_host(64, 0), at(0)).await?.leased.len();
    for now in (15..=240).step_by(15) {
        running += store.claim(on_host(64 - running, now), at(now)).await?.leased.len();
    }
    assert_eq!(running, 64);
    Ok(())
}

async fn times_of_clients_follow_the_wall_clock_and_spans_do_not(
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

async fn claim_keeps_within_the_memory_asked_for(store: Fixture) -> anyhow::Result<()> {
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

/// Else a large job could wait for ever behind a stream of small ones.
async fn a_job_that_does_not_fit_is_not_overtaken(store: Fixture) -> anyhow::Result<()> {
    let sizes = [1, 80, 1];
    store.enqueue(sizes.map(|bytes| job().memory(bytes)).into(), at(0)).await?;
    let memory_bytes = EACH + 50;
    let want = Claim { memory_bytes, ..want(9, at(0)) };
    assert_eq!(store.claim(want, at(0)).await?.leased.len(), 1);
    assert_eq!(store.claim(want, at(0)).await?.leased, []);
    Ok(())
}

/// Else one that was accepted under a larger budget would wait for ever, and all behind it.
async fn a_job_too_large_for_the_budget_runs_when_no_other_does(
    store: Fixture,
) -> anyhow::Result<()> {
    let large = store.accept(job().memory(80), at(0)).await?;
    store.accept(job().memory(1), at(0)).await?;
    let want = Claim { memory_bytes: EACH + 50, ..want(9, at(0)) };
    // An attempt whose lease was lost may still be at work.
    assert_eq!(store.claim(Claim { idle: false, ..want }, at(0)).await?.leased, []);
    let leased = store.claim(want, at(0)).await?.leased;
    assert_eq!(leased.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [large]);
    Ok(())
}

async fn claim_tells_when_the_next_job_is_due(store: Fixture) -> anyhow::Result<()> {
    let drafts = vec![job(), job().due(at(20)), job().due(at(10)), job().queue("off").due(at(5))];
    store.enqueue(drafts, at(0)).await?;
    store.set_held(paused("off"), Some(Default::default())).await?;
    // That in a paused queue counts as due from then on.
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
            draft.spec.args = vec![String::new(), "a\0b".to_owned(), "\"ä\" 🦀".to_owned()];
            draft.spec.env = [("NAME".to_owned(), "a\nb".to_owned())].into();
            draft.spec.output_type = Some("image/png".to_owned());
            store.accept(draft.clone(), at(0)).await?;
            let leased = store.claim_one(at(0)).await?;
            assert_eq!((leased.payload, leased.job.spec), (draft.payload, draft.spec));
        }
    }
    Ok(())
}

async fn a_paused_queue_is_passed_by_and_resumes_in_order(store: Fixture) -> anyhow::Result<()> {
    let drafts =
        [job().queue("off").priority(1), job().queue("off"), job(), job().queue("off").due(at(2))];
    let ids = drafts.each_ref().map(|draft| draft.id);
    store.enqueue(drafts.into(), at(0)).await?;
    store.set_held(paused("off"), Some(Default::default())).await?;
    assert_eq!(store.claim_all(at(5)).await?, [ids[2]]);
    let late = store.accept(job().queue("off"), at(5)).await?;
    assert_eq!(store.claim_all(at(5)).await?, []);
    store.set_held(paused("off"), None).await?;
    assert_eq!(store.claim_all(at(5)).await?, [ids[0], ids[1], ids[3], late]);
    Ok(())
}
