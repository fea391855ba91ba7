//! The state of a durable store after it is opened again.

use std::num::NonZeroU32;

use jobwright_core::capacity::{CapacityLimits, QueueFull};
use jobwright_core::hold::{Hold, HoldNote, JobLabels};
use jobwright_core::job::{Job, JobId, JobState, Lifecycle, MAX_LOST, Verdict};
use jobwright_core::log::LogSnapshot;
use jobwright_core::store::{Claim, Enqueued, Finished, JobFilter, Retention};
use jobwright_core::tenant::TenantLimits;

use crate::conformance::drafts::{Draft as _, at, job, jobs, named, of, paused, progress_update};
use crate::conformance::fixture::{Fixture, HOSTS, want};
use crate::conformance::safety::time_bounds::bounded;
use crate::conformance::{SQLITE, laws};

laws![
    waiting_and_finalized_jobs_survive_reopen,
    outputs_survive_reopen,
    logs_survive_reopen,
    paused_queues_survive_reopen,
    limits_of_tenants_survive_reopen,
    holds_survive_reopen,
    the_note_of_a_hold_survives_reopen,
    a_resumed_queue_stays_resumed,
    idempotency_keys_survive_reopen,
    the_order_of_claims_survives_reopen,
    the_place_of_a_redriven_job_survives_reopen,
    a_running_job_is_reclaimed_at_reopen_and_counted_as_lost,
    jobs_that_were_lost_at_reopen_are_tried_one_at_a_time,
    the_third_loss_at_reopen_discards,
    due_jobs_stay_due_at_reopen_after_the_clock_was_set_back,
    setting_the_wall_clock_changes_no_delay_and_no_snooze_at_reopen,
    jobs_due_by_the_wall_clock_stay_due_at_reopen_after_it_was_set_back,
    an_absolute_time_is_unchanged_at_reopen_whatever_the_clock_of_the_host,
    the_bounds_on_the_time_of_a_job_survive_reopen,
    free_pages_go_back_to_the_disk_at_reopen,
    logs_of_a_version_without_tenants_get_the_tenants_of_their_jobs,
    a_long_attempt_does_not_count_as_a_loss_at_reopen,
    each_loss_at_reopen_is_judged_by_the_signs_of_life_of_its_host,
    a_second_loss_at_reopen_counts_if_its_own_host_finished_nothing_else,
    a_job_that_saves_its_progress_survives_any_number_of_kills,
    a_cancel_request_survives_reopen,
    a_lease_from_before_reopen_is_lost,
    capacity_is_rebuilt_at_reopen,
    jobs_are_readmitted_above_lowered_bounds,
    pruned_jobs_stay_pruned,
    the_use_of_history_and_logs_per_tenant_survives_reopen,
];

async fn waiting_and_finalized_jobs_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    for verdict in [Verdict::Complete, Verdict::Discard, Verdict::Cancel] {
        store.finished(verdict, at(1)).await?;
    }
    store.finished(Verdict::Retry { at: at(90) }, at(1)).await?;
    store.finished(Verdict::Release { at: at(90), refused: true }, at(1)).await?;
    store.finished(Verdict::Snooze { at: at(90) }, at(1)).await?;
    store.enqueue(vec![job(), job().due(at(90)), job().queue("b").priority(4)], at(1)).await?;
    let mut jobs = store.walk(JobFilter::default(), 100, at(2)).await?;
    jobs.iter_mut().for_each(waits_for_the_wall_clock);
    let counts = store.counts(at(2)).await?;
    let store = store.reopen(at(2))?;
    assert_eq!(store.walk(JobFilter::default(), 100, at(2)).await?, jobs);
    assert_eq!(store.counts(at(2)).await?, counts);
    Ok(())
}

/// Marks the time of a job that is not due as one of the wall clock, as a host does at its start.
pub(super) fn waits_for_the_wall_clock(job: &mut Job) {
    let Lifecycle { state, scheduled_at, .. } = job.lifecycle;
    job.lifecycle.on_wall = state == JobState::Available && scheduled_at >= at(50);
}

async fn outputs_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Complete, at(0)).await?;
    let output = store.output(id).await?;
    let store = store.reopen(at(1))?;
    assert!(output.is_some());
    assert_eq!(store.output(id).await?, output);
    Ok(())
}

async fn logs_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    let log = LogSnapshot { bytes: vec![0, 0xff], kept_bytes: 2, dropped_bytes: 1 };
    store.save_log(id, 1, log.clone()).await?;
    let store = store.reopen(at(1))?;
    assert_eq!(store.logs(id).await?[0].log, log);
    Ok(())
}

async fn paused_queues_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().queue("off"), at(0)).await?;
    store.set_held(paused("off"), Some(Default::default())).await?;
    store.set_held(paused("empty"), Some(Default::default())).await?;
    let store = store.reopen(at(1))?;
    assert!(store.queue("off", at(1)).await?.paused);
    assert!(store.queue("empty", at(1)).await?.paused);
    assert_eq!(store.claim_all(at(1)).await?, []);
    store.set_held(paused("off"), None).await?;
    assert_eq!(store.claim_all(at(1)).await?, [id]);
    Ok(())
}

async fn limits_of_tenants_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    let limits = TenantLimits {
        jobs: Some(1),
        running: Some(0),
        jobs_per_second: NonZeroU32::new(7),
        ..Default::default()
    };
    store.set_tenant(named("a"), limits).await?;
    store.accept(of("a"), at(0)).await?;
    let store = store.reopen(at(1))?;
    assert_eq!(store.tenants().await?, [(named("a"), limits)]);
    assert_eq!(store.tenant(&named("a")).await?, limits);
    assert_eq!(store.tenant(&named("b")).await?, TenantLimits::default());
    assert!(matches!(store.offer(of("a"), at(1)).await?, Enqueued::QueueFull(_)));
    assert_eq!(store.claim_up_to(9, at(1)).await?.len(), 0);
    store.set_tenant(named("a"), TenantLimits::default()).await?;
    assert_eq!(store.reopen(at(2))?.tenants().await?, []);
    Ok(())
}

async fn holds_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    store.accept(of("a"), at(0)).await?;
    let tenant = Hold::Tenant(named("a"));
    for hold in Hold::over(&JobLabels::from(&*of("a").spec)) {
        store.set_held(hold, Some(Default::default())).await?;
    }
    let store = store.reopen(at(1))?;
    for hold in Hold::over(&JobLabels::from(&*of("a").spec)) {
        if hold != tenant {
            store.set_held(hold, None).await?;
        }
    }
    let store = store.reopen(at(2))?;
    assert_eq!(store.holds().await?.into_keys().collect::<Vec<_>>(), std::slice::from_ref(&tenant));
    assert_eq!(store.claim_up_to(9, at(2)).await?.len(), 0);
    store.set_held(tenant, None).await?;
    assert_eq!(store.claim_up_to(9, at(2)).await?.len(), 1);
    Ok(())
}

async fn the_note_of_a_hold_survives_reopen(store: Fixture) -> anyhow::Result<()> {
    let (off, note) = (paused("off"), |reason: &str| HoldNote {
        by: Some("key-1".to_owned()),
        at: Some(at(7)),
        reason: Some(reason.to_owned()),
    });
    store.set_held(off.clone(), Some(note("it loops"))).await?;
    let store = store.reopen(at(8))?;
    assert_eq!(store.holds().await?, [(off.clone(), note("it loops"))].into());
    store.set_held(off.clone(), Some(note("it still loops"))).await?;
    let store = store.reopen(at(9))?;
    assert_eq!(store.holds().await?, [(off, note("it still loops"))].into());
    Ok(())
}

async fn a_resumed_queue_stays_resumed(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().queue("off"), at(0)).await?;
    store.set_held(paused("off"), Some(Default::default())).await?;
    store.set_held(paused("off"), None).await?;
    assert_eq!(store.reopen(at(1))?.claim_all(at(1)).await?, [id]);
    Ok(())
}

async fn idempotency_keys_survive_reopen(store: Fixture) -> anyhow::Result<()> {
    let first = job().key("k", "body");
    store.accept(first.clone(), at(0)).await?;
    let store = store.reopen(at(1))?;
    let again = store.offer(job().key("k", "body"), at(1)).await?;
    assert_eq!(again, Enqueued::Duplicate(Box::new(first.accepted(at(0)))));
    assert_eq!(store.offer(job().key("k", "other"), at(1)).await?, Enqueued::KeyReused);
    Ok(())
}

/// The same claims on a store that was never closed and on one that was.
async fn claims_after_reopen(store: Fixture, now: i64) -> anyhow::Result<[Vec<JobId>; 2]> {
    let copy = store.crash(CapacityLimits::default(), at(now))?;
    Ok([store.claim_all(at(now)).await?, copy.claim_all(at(now)).await?])
}

async fn the_order_of_claims_survives_reopen(store: Fixture) -> anyhow::Result<()> {
    for (priority, due) in [(2, 5), (2, 0), (1, 7), (2, 5), (4, 0), (2, 0), (3, 1)] {
        store.accept(job().priority(priority).due(at(due)), at(0)).await?;
    }
    let [expected, found] = claims_after_reopen(store, 9).await?;
    assert_eq!(expected.len(), 7);
    assert_eq!(found, expected);
    Ok(())
}

async fn the_place_of_a_redriven_job_survives_reopen(store: Fixture) -> anyhow::Result<()> {
    let first = store.finished(Verdict::Discard, at(0)).await?;
    let second = store.accept(job(), at(5)).await?;
    store.redrive(first, at(5)).await?;
    let third = store.accept(job(), at(5)).await?;
    let expected = vec![second, first, third];
    assert_eq!(claims_after_reopen(store, 5).await?, [expected.clone(), expected]);
    Ok(())
}

async fn a_running_job_is_reclaimed_at_reopen_and_counted_as_lost(
    store: Fixture,
) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    let store = store.reopen(at(1))?;
    let job = store.job(id).await?;
    assert_eq!((job.lifecycle.state, job.lifecycle.lost), (JobState::Available, 1));
    assert_eq!((job.attempts.len(), job.attempts[0].ended_at), (1, at(1)));
    assert_eq!(store.claim_one(at(1)).await?.lease.attempt, 2);
    Ok(())
}

async fn jobs_that_were_lost_at_reopen_are_tried_one_at_a_time(
    store: Fixture,
) -> anyhow::Result<()> {
    let ids = [store.accept(job(), at(0)).await?, store.accept(job(), at(0)).await?];
    store.claim_up_to(2, at(0)).await?;
    let store = store.reopen(at(1))?.reopen(at(2))?;
    for id in ids {
        let tried = store.claim_up_to(9, at(2)).await?;
        assert_eq!(tried.iter().map(|leased| leased.job.id).collect::<Vec<_>>(), [id]);
        store.finish_with(&tried[0], Verdict::Complete, at(2)).await?;
    }
    Ok(())
}

async fn the_third_loss_at_reopen_discards(mut store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for loss in 1..=MAX_LOST {
        store.claim_one(at(0)).await?;
        store = store.reopen(at(1))?;
        assert_eq!(store.job(id).await?.lifecycle.lost, loss);
    }
    let job = store.job(id).await?;
    assert_eq!(
        (job.lifecycle.state, job.lifecycle.finalized_at),
        (JobState::Discarded, Some(at(1)))
    );
    assert_eq!(store.counts(at(1)).await?, []);
    Ok(())
}

async fn the_bounds_on_the_time_of_a_job_survive_reopen(mut store: Fixture) -> anyhow::Result<()> {
    let mut now = 0;
    for set in [0, 7 * 3600, -7 * 3600] {
        let due = store.accept(bounded(Some(10), Some(20)), at(now)).await?;
        let later = store.accept(bounded(Some(10), None).due(at(now + 50)), at(now)).await?;
        // The wall clock is set, and the host notices it.
        store.claim(Claim { wall: at(now + set), ..want(0, at(now)) }, at(now)).await?;
        now += set;
        store = store.reopen(at(now + 5))?;
        let lifecycle = store.job(due).await?.lifecycle;
        let bounds = (lifecycle.start_by, lifecycle.end_by);
        assert_eq!(bounds, (Some(at(now + 10)), Some(at(now + 20))), "set by {set} s");
        assert_eq!(store.ends(at(now + 9)).await?, 0);
        assert_eq!(store.ends(at(now + 10)).await?, 1);
        assert_eq!(store.state(due).await?, JobState::Expired);
        store.claim(want(0, at(now + 50)), at(now + 50)).await?;
        assert_eq!(store.job(later).await?.lifecycle.start_by, Some(at(now + 60)));
        store = store.reopen(at(now + 55))?;
        assert_eq!(store.ends(at(now + 59)).await?, 0);
        assert_eq!(store.ends(at(now + 60)).await?, 1);
        now += 100;
    }
    Ok(())
}

async fn due_jobs_stay_due_at_reopen_after_the_clock_was_set_back(
    store: Fixture,
) -> anyhow::Result<()> {
    let waits = store.accept(job(), at(7200)).await?;
    let runs = store.accept(job().priority(1), at(7200)).await?;
    assert_eq!(store.claim_one(at(7200)).await?.job.id, runs);
    store.accept(job().due(at(7201)), at(7200)).await?;
    let store = store.reopen(at(10))?;
    assert_eq!(store.claim_all(at(10)).await?, [runs, waits]);
    Ok(())
}

async fn setting_the_wall_clock_changes_no_delay_and_no_snooze_at_reopen(
    mut store: Fixture,
) -> anyhow::Result<()> {
    // The clock of each host.
    let mut now = 0;
    for set in [7 * 3600, -7 * 3600] {
        let mut ids = vec![];
        for _ in 0..3 {
            ids.push(store.accept(job(), at(now)).await?);
        }
        let running = store.claim_up_to(9, at(now)).await?;
        // The host notices it at its next reading.
        store.claim(Claim { wall: at(now + set), ..want(0, at(now)) }, at(now)).await?;
        for (leased, verdict) in running.iter().zip([
            Verdict::Retry { at: at(now + 6) },
            Verdict::Snooze { at: at(now + 6) },
            Verdict::Release { at: at(now + 6), refused: true },
        ]) {
            store.finish_with(leased, verdict, at(now)).await?;
        }
        now += set;
        store = store.reopen(at(now + 1))?;
        let early = store.claim(want(9, at(now + 5)), at(now + 5)).await?;
        assert_eq!((early.leased, early.next_due), (vec![], Some(at(now + 6))), "set by {set} s");
        assert_eq!(store.job(ids[1]).await?.lifecycle.snoozed_since, Some(at(now)));
        // Once more, with a host that has run with the correct time.
        store = store.reopen(at(now + 5))?;
        for leased in store.claim_up_to(9, at(now + 6)).await? {
            ids.retain(|id| *id != leased.job.id);
            store.finish_with(&leased, Verdict::Complete, at(now + 6)).await?;
        }
        assert_eq!(ids, [], "set by {set} s");
        now += 100;
    }
    Ok(())
}

async fn jobs_due_by_the_wall_clock_stay_due_at_reopen_after_it_was_set_back(
    store: Fixture,
) -> anyhow::Result<()> {
    let mut given = job().due(at(3600));
    given.on_wall = true;
    let given = store.accept(given, at(0)).await?;
    store.claim(Claim { wall: at(3600), ..want(0, at(1)) }, at(1)).await?;
    store.claim(Claim { wall: at(2), ..want(0, at(2)) }, at(2)).await?;
    assert_eq!(store.reopen(at(3))?.claim_all(at(3)).await?, [given]);
    Ok(())
}

async fn an_absolute_time_is_unchanged_at_reopen_whatever_the_clock_of_the_host(
    store: Fixture,
) -> anyhow::Result<()> {
    let mut given = job().due(at(3600));
    given.on_wall = true;
    let given = store.accept(given, at(0)).await?;
    store.claim(Claim { wall: at(-7200), ..want(0, at(1)) }, at(1)).await?;
    let store = store.reopen(at(3599))?;
    assert_eq!(store.claim_all(at(3599)).await?, []);
    assert_eq!(store.claim_all(at(3600)).await?, [given]);
    Ok(())
}

async fn free_pages_go_back_to_the_disk_at_reopen(store: Fixture) -> anyhow::Result<()> {
    const MIB: usize = 1 << 20;
    for _ in 0..16 {
        store.accept(job().payload(vec![7; MIB]), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        store.finish_with(&leased, Verdict::Complete, at(0)).await?;
    }
    let kept = store.accept(job(), at(1)).await?;
    let all = Retention { completed_before: at(9), discarded_before: at(9), now: at(9) };
    assert_eq!(store.prune(all, 99).await?, 16);
    let directory = store.close();
    let bytes = || anyhow::Ok(directory.path().join("jobs.db").metadata()?.len());
    assert!(bytes()? > 16 << 20);
    let store = (SQLITE.open)(directory.path(), CapacityLimits::default(), at(9))?;
    assert!(bytes()? < 1 << 20, "{} bytes", bytes()?);
    assert!(store.get(kept).await?.is_some());
    Ok(())
}

async fn logs_of_a_version_without_tenants_get_the_tenants_of_their_jobs(
    store: Fixture,
) -> anyhow::Result<()> {
    for tenant in ["a", "default"] {
        let id = store.accept(of(tenant), at(0)).await?;
        let leased = store.claim_one(at(0)).await?;
        let log = LogSnapshot { bytes: vec![b'x'], kept_bytes: 1, dropped_bytes: 0 };
        store.save_log(id, 1, log).await?;
        store.finish_with(&leased, Verdict::Complete, at(0)).await?;
    }
    let directory = store.close();
    let path = directory.path().join("logs.db");
    let earlier = "UPDATE log SET tenant = 'default'; PRAGMA user_version = 2;";
    rusqlite::Connection::open(&path)?.execute_batch(earlier)?;
    drop((SQLITE.open)(directory.path(), CapacityLimits::default(), at(1))?);
    let logs = rusqlite::Connection::open(&path)?;
    let mut tenants = logs.prepare("SELECT tenant FROM log ORDER BY rowid")?;
    let tenants = tenants.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    assert_eq!(tenants, ["a", "default"]);
    Ok(())
}

async fn a_long_attempt_does_not_count_as_a_loss_at_reopen(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    store.alive(HOSTS[0], at(10)).await?;
    let store = store.reopen(at(20))?;
    assert_eq!(store.job(id).await?.lifecycle.lost, 0);
    // A second loss: the job may have killed the host after 25 s, as nothing else was finished since.
    store.claim_one(at(20)).await?;
    store.alive(HOSTS[0], at(45)).await?;
    let store = store.reopen(at(50))?;
    assert_eq!(store.job(id).await?.lifecycle.lost, 1);
    // Unless another attempt was finished since.
    store.claim_one(at(50)).await?;
    store.finished(Verdict::Complete, at(61)).await?;
    let store = store.reopen(at(70))?;
    assert_eq!(store.job(id).await?.lifecycle.lost, 1);
    Ok(())
}

async fn each_loss_at_reopen_is_judged_by_the_signs_of_life_of_its_host(
    store: Fixture,
) -> anyhow::Result<()> {
    store.enqueue(jobs(2), at(0)).await?;
    let [first, second] =
        [store.claim_one_as(HOSTS[0], at(0)).await?, store.claim_one_as(HOSTS[1], at(0)).await?];
    store.alive(HOSTS[0], at(9)).await?;
    store.alive(HOSTS[1], at(25)).await?;
    let store = store.reopen(at(30))?;
    assert_eq!(store.job(first.job.id).await?.lifecycle.lost, 1, "its host died at once");
    let job = store.job(second.job.id).await?;
    assert_eq!((job.lifecycle.lost, job.lifecycle.host), (0, None));
    Ok(())
}

async fn a_second_loss_at_reopen_counts_if_its_own_host_finished_nothing_else(
    mut store: Fixture,
) -> anyhow::Result<()> {
    let [host, other] = HOSTS;
    let id = store.accept(job(), at(0)).await?;
    for (begun, finishes, lost) in [(0, other, 0), (100, other, 1), (200, host, 1)] {
        assert_eq!(store.claim_one_as(host, at(begun)).await?.job.id, id);
        store.accept(job().queue("other"), at(begun)).await?;
        let beside = store.claim_one_as(finishes, at(begun)).await?;
        store.finish_with(&beside, Verdict::Complete, at(begun)).await?;
        store.alive(host, at(begun + 25)).await?;
        store = store.reopen(at(begun + 30))?;
        assert_eq!(store.job(id).await?.lifecycle.lost, lost, "begun at {begun} s");
    }
    Ok(())
}

async fn a_job_that_saves_its_progress_survives_any_number_of_kills(
    mut store: Fixture,
) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    for kill in 1..=10 {
        let leased = store.claim_one(at(kill * 100)).await?;
        store.save_progress(leased.lease, progress_update(1)).await?;
        store.alive(HOSTS[0], at(kill * 100 + 25)).await?;
        store = store.reopen(at(kill * 100 + 30))?;
        let job = store.job(id).await?;
        assert_eq!((job.lifecycle.state, job.lifecycle.lost), (JobState::Available, 0));
    }
    Ok(())
}

async fn a_cancel_request_survives_reopen(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    store.request_cancel(id, at(1)).await?;
    assert_eq!(store.reopen(at(2))?.state(id).await?, JobState::Cancelled);
    Ok(())
}

async fn a_lease_from_before_reopen_is_lost(store: Fixture) -> anyhow::Result<()> {
    store.accept(job(), at(0)).await?;
    let lost = store.claim_one(at(0)).await?;
    let store = store.reopen(at(1))?;
    store.claim_one(at(1)).await?;
    let answer = store.finish_with(&lost, Verdict::Complete, at(1)).await?;
    assert_eq!(answer, Finished::LeaseLost);
    Ok(())
}

async fn capacity_is_rebuilt_at_reopen(store: Fixture) -> anyhow::Result<()> {
    store.finished(Verdict::Complete, at(0)).await?;
    store.enqueue(jobs(2), at(0)).await?;
    let limits = CapacityLimits { per_queue: 9, total: 9, payload_bytes: 15, ..Default::default() };
    let store = store.reopen_bounded(limits, at(1))?;
    store.accept(job(), at(1)).await?;
    let full = QueueFull::Bytes { depth_bytes: 15, capacity_bytes: 15 };
    assert_eq!(store.offer(job(), at(1)).await?, Enqueued::QueueFull(full));
    Ok(())
}

async fn jobs_are_readmitted_above_lowered_bounds(store: Fixture) -> anyhow::Result<()> {
    store.enqueue(jobs(5), at(0)).await?;
    let limits = CapacityLimits { per_queue: 2, total: 2, payload_bytes: 1, ..Default::default() };
    let store = store.reopen_bounded(limits, at(1))?;
    let full = QueueFull::Host { depth: 5, capacity: 2 };
    assert_eq!(store.offer(job(), at(1)).await?, Enqueued::QueueFull(full));
    assert_eq!(store.claim_all(at(1)).await?.len(), 5);
    Ok(())
}

async fn pruned_jobs_stay_pruned(store: Fixture) -> anyhow::Result<()> {
    let id = store.finished(Verdict::Complete, at(0)).await?;
    let all = Retention { completed_before: at(9), discarded_before: at(9), now: at(9) };
    assert_eq!(store.prune(all, 9).await?, 1);
    assert_eq!(store.reopen(at(9))?.get(id).await?, None);
    Ok(())
}

async fn the_use_of_history_and_logs_per_tenant_survives_reopen(
    store: Fixture,
) -> anyhow::Result<()> {
    const MIB: usize = 1 << 20;
    let mut limits = CapacityLimits::default();
    (limits.kept.history_bytes, limits.kept.log_bytes) = (8 << 20, 8 << 20);
    let log = || LogSnapshot { bytes: vec![b'x'; MIB], kept_bytes: 1 << 20, dropped_bytes: 0 };
    let over = async |store: &Fixture, tenant: &str, second: i64| {
        let id = store.accept(of(tenant).payload(vec![7; MIB]), at(second)).await?;
        let leased = store.claim_one(at(second)).await?;
        store.finish_with(&leased, Verdict::Complete, at(second)).await?;
        store.save_log(id, 1, log()).await?;
        anyhow::Ok(id)
    };
    let store = store.reopen_bounded(limits, at(0))?;
    let modest = over(&store, "modest", 0).await?;
    for second in 1..4 {
        over(&store, "greedy", second).await?;
    }
    let store = store.reopen_bounded(limits, at(4))?;
    for second in 4..30 {
        over(&store, "greedy", second).await?;
    }
    assert_eq!(store.state(modest).await?, JobState::Completed);
    assert_eq!(store.logs(modest).await?.len(), 1);
    Ok(())
}
