//! A failing store: no job is accepted, no accepted job is lost, and the failure is reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::store::StoreError;
use jobwright_tests::{ScriptedRuntime, TestClock, TestHost, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::interposed::Interposed;
use super::{get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        a_failing_store_is_reported_as_unavailable,
        causes_of_internal_errors_are_logged_and_not_returned,
        a_store_that_recovers_accepts_jobs_again,
    ]
}

/// A host, and the flag that makes its store fail.
async fn host(error: StoreError) -> anyhow::Result<(TestHost, Arc<AtomicBool>)> {
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let store = Interposed::new(move |_, _| {
        let answer = if broken.load(Ordering::Relaxed) { Err(error.clone()) } else { Ok(()) };
        Box::pin(async { answer })
    });
    let (runtime, clock) = (ScriptedRuntime::default(), TestClock::default());
    let host = TestHost::of(store, Arc::new(runtime), Arc::new(clock), |_| {}).await?;
    host.push("p", "bytes").await?;
    Ok((host, is_broken))
}

fn full_disk() -> StoreError {
    StoreError::Unavailable { reason: "the disk is full".to_owned() }
}

async fn a_failing_store_is_reported_as_unavailable() -> anyhow::Result<()> {
    let (host, broken) = host(full_disk()).await?;
    let job = json!({ "plugin": "p" });
    let id = host.submit(job.clone()).await?;
    broken.store(true, Ordering::Relaxed);

    let answer = post(&host, "/v1/jobs", &job).await?;
    assert_eq!(answer.header("retry-after"), "10");
    assert_json_snapshot!(answer.problem(503)?, @r#"
    {
      "code": "store_unavailable",
      "detail": "the store is unavailable; the host's log has the cause"
    }
    "#);
    for (path, body) in [
        ("/v1/jobs/batch".to_owned(), json!([job])),
        (format!("/v1/jobs/{id}/cancel"), json!(null)),
        (format!("/v1/jobs/{id}/retry"), json!(null)),
        ("/v1/queues/default/pause".to_owned(), json!(null)),
    ] {
        assert_eq!(post(&host, &path, body).await?.code(503)?, "store_unavailable", "{path}");
    }
    for path in [format!("/v1/jobs/{id}?wait=5s"), "/v1/jobs".to_owned(), "/v1/queues".to_owned()] {
        assert_eq!(get(&host, &path).await?.code(503)?, "store_unavailable", "{path}");
    }
    let ready = get(&host, "/readyz").await?.ok(503)?;
    assert_json_snapshot!(ready, @r#"
    {
      "code": "store_unavailable",
      "reason": "the store is unavailable: the disk is full",
      "status": "not_ready"
    }
    "#);
    get(&host, "/healthz").await?.ok(200)?;
    get(&host, "/v1/plugins/p").await?.ok(200)?;
    let gone = super::delete(&host, "/v1/plugins/p").await?;
    assert_eq!(gone.code(503)?, "store_unavailable", "it is unknown whether jobs need it");
    Ok(())
}

async fn causes_of_internal_errors_are_logged_and_not_returned() -> anyhow::Result<()> {
    let secret = "row 7 holds `secret`";
    let (host, broken) = host(StoreError::Corrupt { what: secret.to_owned() }).await?;
    broken.store(true, Ordering::Relaxed);
    let answer = get(&host, "/v1/jobs").await?;
    assert_json_snapshot!(answer.problem(500)?, @r#"
    {
      "code": "internal",
      "detail": "the host failed; its log has the cause"
    }
    "#);
    ensure!(!answer.text()?.contains("secret"), "the response has the cause: {answer:?}");
    Ok(())
}

async fn a_store_that_recovers_accepts_jobs_again() -> anyhow::Result<()> {
    let (host, broken) = host(full_disk()).await?;
    let id = host.submit(json!({ "plugin": "p", "delay_ms": 1000 })).await?;
    broken.store(true, Ordering::Relaxed);
    assert_eq!(post(&host, "/v1/jobs?plugin=p", "").await?.status, 503);
    broken.store(false, Ordering::Relaxed);
    get(&host, "/readyz").await?.ok(200)?;
    post(&host, "/v1/jobs?plugin=p", "").await?.ok(202)?;
    assert_eq!(host.job(&id).await?["state"], "scheduled");
    Ok(())
}
