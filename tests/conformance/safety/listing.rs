//! Lists of jobs, and counts of queues.

use std::sync::Arc;

use jobwright_core::job::{JobId, NewJob, Phase, Verdict};
use jobwright_core::queue::QueueCounts;
use jobwright_core::store::{JobFilter, JobPage, Page};
use jobwright_core::tenant::TenantName;

use crate::conformance::drafts::{Draft as _, at, job, jobs, named, paused};
use crate::conformance::fixture::Fixture;
use crate::conformance::laws;

laws![
    an_empty_store_lists_nothing,
    list_walks_all_pages_exactly_once_newest_first,
    list_pages_are_stable_under_insert,
    a_job_that_moves_between_pages_is_listed_once,
    a_page_before_the_oldest_is_the_last,
    list_filters_by_phase,
    list_filters_by_whether_jobs_are_over,
    list_filters_by_plugin_version_queue_and_tag,
    a_filtered_list_walks_all_its_pages,
    a_rare_match_is_found_behind_many_others,
    long_jobs_make_short_pages,
    counts_report_depth_scheduled_running_and_age,
    counts_match_list,
    a_queue_is_counted_while_it_has_jobs_or_is_paused,
];

const ALL: Page = Page { before: None, most: 1000 };

/// Twelve jobs, every second one finalized; returns their ids, newest first.
async fn twelve_jobs(store: &Fixture) -> anyhow::Result<Vec<JobId>> {
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(store.finished(Verdict::Complete, at(0)).await?);
        ids.push(store.accept(job().due(at(9)), at(0)).await?);
    }
    ids.reverse();
    Ok(ids)
}

fn ids(jobs: Vec<jobwright_core::Job>) -> Vec<JobId> {
    jobs.into_iter().map(|job| job.id).collect()
}

async fn an_empty_store_lists_nothing(store: Fixture) -> anyhow::Result<()> {
    assert_eq!(store.list(JobFilter::default(), ALL, at(0)).await?, JobPage::default());
    assert_eq!(store.counts(at(0)).await?, []);
    Ok(())
}

async fn list_walks_all_pages_exactly_once_newest_first(store: Fixture) -> anyhow::Result<()> {
    let expected = twelve_jobs(&store).await?;
    for most in [1, 2, 5, 6, 11, 12, 13] {
        let found = store.walk(JobFilter::default(), most, at(0)).await?;
        assert_eq!(ids(found), expected, "in pages of {most}");
        let page = Page { before: None, most };
        let page = store.list(JobFilter::default(), page, at(0)).await?;
        assert_eq!(page.jobs.len(), most.min(12));
        assert_eq!(page.next.is_none(), most >= 12, "after a page of {most}");
    }
    Ok(())
}

async fn list_pages_are_stable_under_insert(store: Fixture) -> anyhow::Result<()> {
    let expected = twelve_jobs(&store).await?;
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = store.list(JobFilter::default(), Page { before, most: 5 }, at(0)).await?;
        found.extend(ids(page.jobs));
        store.enqueue(jobs(3), at(0)).await?;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
    Ok(())
}

async fn a_job_that_moves_between_pages_is_listed_once(store: Fixture) -> anyhow::Result<()> {
    let expected = twelve_jobs(&store).await?;
    let first = store.list(JobFilter::default(), Page { before: None, most: 6 }, at(0)).await?;
    for id in &expected {
        store.request_cancel(*id, at(1)).await?;
        store.redrive(*id, at(1)).await?;
    }
    store.request_cancel(expected[7], at(1)).await?;
    let page = Page { before: first.next, most: 6 };
    let second = store.list(JobFilter::default(), page, at(1)).await?;
    let found = [first.jobs, second.jobs].concat();
    assert_eq!((ids(found), second.next), (expected, None));
    Ok(())
}

async fn a_page_before_the_oldest_is_the_last(store: Fixture) -> anyhow::Result<()> {
    let oldest = twelve_jobs(&store).await?.pop();
    let page = Page { before: oldest, most: 5 };
    assert_eq!(store.list(JobFilter::default(), page, at(0)).await?, JobPage::default());
    Ok(())
}

async fn list_filters_by_phase(store: Fixture) -> anyhow::Result<()> {
    let completed = store.finished(Verdict::Complete, at(0)).await?;
    let discarded = store.finished(Verdict::Discard, at(0)).await?;
    let cancelled = store.finished(Verdict::Cancel, at(0)).await?;
    let retryable = store.finished(Verdict::Retry { at: at(10) }, at(0)).await?;
    let running = store.accept(job(), at(0)).await?;
    store.claim_one(at(0)).await?;
    let scheduled = store.accept(job().due(at(10)), at(0)).await?;
    let available = store.accept(job(), at(0)).await?;
    let list = async |phase: Phase, now| {
        let filter = JobFilter { phase: Some(phase), ..Default::default() };
        anyhow::Ok(ids(store.list(filter, ALL, at(now)).await?.jobs))
    };
    assert_eq!(list(Phase::Completed, 9).await?, [completed]);
    assert_eq!(list(Phase::Discarded, 9).await?, [discarded]);
    assert_eq!(list(Phase::Cancelled, 9).await?, [cancelled]);
    assert_eq!(list(Phase::Retryable, 9).await?, [retryable]);
    assert_eq!(list(Phase::Running, 9).await?, [running]);
    assert_eq!(list(Phase::Scheduled, 9).await?, [scheduled]);
    assert_eq!(list(Phase::Available, 9).await?, [available]);
    assert_eq!(list(Phase::Available, 10).await?, [available, scheduled, retryable]);
    assert_eq!(list(Phase::Scheduled, 10).await?, []);
    assert_eq!(list(Phase::Retryable, 10).await?, []);
    Ok(())
}

async fn list_filters_by_whether_jobs_are_over(store: Fixture) -> anyhow::Result<()> {
    let all = twelve_jobs(&store).await?;
    let (over, others): (Vec<_>, Vec<_>) =
        all.iter().enumerate().partition(|(place, _)| place % 2 == 1);
    for (finalized, expected) in [(true, over), (false, others)] {
        let filter = JobFilter { finalized: Some(finalized), ..JobFilter::default() };
        let found = store.walk(filter.clone(), 2, at(0)).await?;
        assert!(ids(found).iter().eq(expected.iter().map(|(_, id)| *id)), "{finalized}");
        let contradiction = JobFilter {
            phase: Some(if finalized { Phase::Running } else { Phase::Completed }),
            ..filter
        };
        assert_eq!(store.list(contradiction, ALL, at(0)).await?, JobPage::default());
    }
    Ok(())
}

async fn list_filters_by_plugin_version_queue_and_tag(store: Fixture) -> anyhow::Result<()> {
    let plain = store.accept(job(), at(0)).await?;
    let change = async |change: fn(&mut NewJob)| {
        let mut draft = job();
        change(&mut draft);
        store.accept(draft, at(0)).await
    };
    let plugin = change(|job| Arc::make_mut(&mut job.spec).plugin = named("other")).await?;
    let version = change(|job| Arc::make_mut(&mut job.spec).version = named("2.0.0")).await?;
    let queue = change(|job| Arc::make_mut(&mut job.spec).queue = named("bulk")).await?;
    let tag =
        change(|job| Arc::make_mut(&mut job.spec).tags = vec!["x".to_owned(), "urgent".to_owned()])
            .await?;
    let list = async |filter| anyhow::Ok(ids(store.list(filter, ALL, at(0)).await?.jobs));

    let none = JobFilter::default;
    assert_eq!(list(none()).await?, [tag, queue, version, plugin, plain]);
    assert_eq!(list(JobFilter { plugin: Some(named("other")), ..none() }).await?, [plugin]);
    assert_eq!(list(JobFilter { version: Some(named("2.0.0")), ..none() }).await?, [version]);
    assert_eq!(list(JobFilter { queue: Some(named("bulk")), ..none() }).await?, [queue]);
    assert_eq!(list(JobFilter { tag: Some("urgent".to_owned()), ..none() }).await?, [tag]);
    assert_eq!(list(JobFilter { tag: Some("urge".to_owned()), ..none() }).await?, []);
    let both = JobFilter { queue: Some(named("bulk")), plugin: Some(named("other")), ..none() };
    assert_eq!(list(both).await?, []);
    Ok(())
}

async fn a_filtered_list_walks_all_its_pages(store: Fixture) -> anyhow::Result<()> {
    let all = twelve_jobs(&store).await?;
    for (phase, first) in [(Phase::Scheduled, 0), (Phase::Completed, 1)] {
        let filter = JobFilter { phase: Some(phase), ..Default::default() };
        let expected: Vec<JobId> = all.iter().copied().skip(first).step_by(2).collect();
        for most in [1, 4, 6, 7] {
            assert_eq!(ids(store.walk(filter.clone(), most, at(0)).await?), expected);
        }
    }
    Ok(())
}

/// More jobs than a driver examines for one page.
async fn a_rare_match_is_found_behind_many_others(store: Fixture) -> anyhow::Result<()> {
    let oldest = store.accept(job().queue("rare"), at(0)).await?;
    store.enqueue(jobs(10_000), at(0)).await?;
    store.enqueue((0..2000).map(|_| job().queue("more")).collect(), at(0)).await?;
    let newest = store.accept(job().queue("rare"), at(0)).await?;
    let filter = JobFilter { queue: Some(named("rare")), ..Default::default() };
    assert_eq!(ids(store.walk(filter, 10, at(0)).await?), [newest, oldest]);
    Ok(())
}

async fn long_jobs_make_short_pages(store: Fixture) -> anyhow::Result<()> {
    let mut expected = Vec::new();
    for turn in 0..20 {
        let mut long = job();
        Arc::make_mut(&mut long.spec).args = vec!["x".repeat(500 << 10)];
        let id = store.accept(long, at(0)).await?;
        if turn % 2 == 0 {
            let leased = store.claim_one(at(0)).await?;
            store.finish_with(&leased, Verdict::Complete, at(0)).await?;
        }
        expected.push(id);
    }
    expected.reverse();
    let page = store.list(JobFilter::default(), ALL, at(0)).await?;
    let bytes: u64 = page.jobs.iter().map(jobwright_core::Job::text_bytes).sum();
    assert!(page.jobs.len() > 1 && bytes < 2 * JobPage::MAX_BYTES, "{bytes} bytes");
    assert!(page.next.is_some());
    assert_eq!(ids(store.walk(JobFilter::default(), 1000, at(0)).await?), expected);
    Ok(())
}

async fn counts_report_depth_scheduled_running_and_age(store: Fixture) -> anyhow::Result<()> {
    let drafts = vec![job(), job().due(at(4)), job().due(at(6)), job().due(at(100))];
    store.enqueue(drafts, at(0)).await?;
    store.claim_one(at(0)).await?;
    let expected = QueueCounts {
        tenant: TenantName::default(),
        name: named("default"),
        depth: 3,
        scheduled: 1,
        running: 1,
        capacity: 10_000,
        parked: 1,
        parked_capacity: 100_000,
        oldest_age_ms: 6000,
        paused: false,
    };
    assert_eq!(store.counts(at(10)).await?, [expected]);
    assert_eq!(store.queue("default", at(3)).await?.oldest_age_ms, 0, "none is due");
    Ok(())
}

async fn counts_match_list(store: Fixture) -> anyhow::Result<()> {
    twelve_jobs(&store).await?;
    store.finished(Verdict::Retry { at: at(9) }, at(0)).await?;
    store.enqueue(jobs(4), at(0)).await?;
    store.claim_up_to(2, at(0)).await?;
    for now in [0, 9] {
        let count = async |phase| {
            let filter = JobFilter { phase: Some(phase), ..Default::default() };
            anyhow::Ok(store.walk(filter, 3, at(now)).await?.len())
        };
        let hidden = count(Phase::Scheduled).await? + count(Phase::Retryable).await?;
        let counts = store.queue("default", at(now)).await?;
        assert_eq!(counts.scheduled, hidden);
        assert_eq!(counts.depth, hidden + count(Phase::Available).await?);
        assert_eq!(counts.running, count(Phase::Running).await?);
    }
    Ok(())
}

async fn a_queue_is_counted_while_it_has_jobs_or_is_paused(store: Fixture) -> anyhow::Result<()> {
    let id = store.accept(job().queue("b"), at(0)).await?;
    store.set_held(paused("a"), Some(Default::default())).await?;
    let names = async || {
        let counts = store.counts(at(0)).await?;
        anyhow::Ok(counts.into_iter().map(|c| (c.name.into(), c.paused)).collect::<Vec<_>>())
    };
    let (a, b): (String, String) = ("a".into(), "b".into());
    assert_eq!(names().await?, [(a.clone(), true), (b, false)]);
    store.request_cancel(id, at(0)).await?;
    assert_eq!(names().await?, [(a, true)]);
    store.set_held(paused("a"), None).await?;
    assert_eq!(names().await?, []);
    Ok(())
}
