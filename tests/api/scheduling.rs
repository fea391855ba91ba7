//! Delays, times and priorities of jobs.

use std::time::Duration;

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::{Fixture, post};

pub fn trials() -> Vec<Trial> {
    tests![
        a_delayed_job_waits_for_its_time,
        a_time_in_the_past_means_now,
        jobs_of_the_highest_priority_start_first,
    ]
}

async fn a_delayed_job_waits_for_its_time() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let delayed = fixture.submit(json!({ "delay_ms": 60_000 })).await?;
    let at = "2026-01-01T01:02:00+01:00"; // two minutes from now
    let appointed = fixture.submit(json!({ "scheduled_at": at })).await?;
    let job = fixture.host.job(&appointed).await?;
    assert_eq!(
        (&job["state"], &job["scheduled_at"]),
        (&json!("scheduled"), &json!("2026-01-01T00:02:00Z"))
    );
    ensure!(fixture.runtime.begun().await.is_none());
    for id in [delayed, appointed] {
        fixture.clock.advance(Duration::from_secs(60));
        assert_eq!(fixture.succeeds().await?.job.id.to_string(), id);
    }
    Ok(())
}

async fn a_time_in_the_past_means_now() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for past in ["2025-12-31T23:59:59Z", "1969-07-20T20:17:40Z"] {
        let body = json!({ "plugin": "p", "scheduled_at": past });
        let job = post(&fixture.host, "/v1/jobs", body).await?.ok(202)?;
        assert_eq!(
            (&job["state"], &job["scheduled_at"]),
            (&json!("available"), &job["created_at"])
        );
        fixture.succeeds().await?;
    }
    Ok(())
}

async fn jobs_of_the_highest_priority_start_first() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    for priority in [4, 1, 3, 2] {
        // All due at once.
        fixture
            .submit(json!({ "priority": priority, "scheduled_at": "2026-01-01T01:00:00Z" }))
            .await?;
    }
    fixture.clock.advance(Duration::from_secs(3600));
    for expected in 1_u8..=4 {
        let priority: u8 = fixture.succeeds().await?.job.spec.priority.into();
        assert_eq!(priority, expected);
    }
    Ok(())
}
