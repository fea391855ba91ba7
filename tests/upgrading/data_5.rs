//! The additional content of `data-5.tar.gz`.

use anyhow::{Context as _, ensure};
use jobwright::store::embedded::EmbeddedStore;
use jobwright_core::capacity::CapacityLimits;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Dedup, DedupScope};
use jobwright_core::store::{Enqueued, Retention};
use jobwright_core::{JobReads as _, JobStore as _, TenantName};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Kept, Upgraded};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        holds_keep_their_actor_and_reason,
        payloads_and_outputs_are_as_they_were,
        outputs_of_failed_attempts_are_still_separate,
        a_running_and_a_snoozed_job_continue_from_their_checkpoints,
        a_lost_job_stays_in_its_paused_queue_and_can_be_cancelled,
        a_scheduled_job_keeps_its_time,
        jobs_of_two_tenants_stay_separate,
        a_repeated_request_is_still_recognized,
        a_repeated_request_is_answered_after_its_job_was_pruned,
        a_deterministic_job_reads_the_same_as_before,
        values_of_a_plugin_are_there_for_its_next_job,
    ]
}

pub(super) const DATA_5: Kept = Kept {
    archive: concat!(env!("CARGO_MANIFEST_DIR"), "/kept/data-5.tar.gz"),
    key: "jwk_FAWQNJ42qUWFhKAG-zWjrp7BJn5VcTjD7xQL57MJZbs",
    completed: "01a224f1-0d18-7000-bd07-fc56542e4f77",
    discarded: "01a224f1-0d1e-7000-b4f4-31234745a845",
    cancelled: "01a224f1-0d8c-7000-8744-b2cc0a9a52a9",
    retryable: "01a224f1-0d3d-7000-92f0-95f1340354cf",
    available: "01a224f1-0d7f-7000-a102-4b30f5c70b3a",
    running: "01a224f1-0dc3-7000-afb0-3a36adc5bf99",
    theirs: "01a224f1-0d10-7000-b676-0198595b06e1",
};

/// Copied a payload of 2 KiB to its output.
const COPIED: &str = "01a224f1-0d25-7000-9819-a497e7c6fa16";
/// As [`COPIED`], waiting in the paused queue `held`.
const LARGE: &str = "01a224f1-0d87-7000-804b-dd078ebcf74f";
/// A job of a deterministic plugin, whose output is 16 random bytes.
const ROLLED: &str = "01a224f1-0d2b-7000-a4b8-18bf132f77c0";
/// A job of a plugin whose output is the number of its jobs that have run.
const COUNTED: &str = "01a224f1-0d30-7000-b849-7a7ad91062fb";
/// Was snoozed once, after the checkpoint `asked`, in the queue `held`.
const SNOOZED: &str = "01a224f1-0d5d-7000-9570-2718e6989325";
/// Scheduled in the queue `held`.
const SCHEDULED: &str = "01a224f1-0d8a-7000-bdfa-fbfd1e860e57";
/// Was lost once, and waits in the paused queue `lossy`.
const LOST: &str = "01a224f1-0d92-7000-9e03-1d20f90fcc85";
/// A job of the tenant `acme`, in its paused queue `held`.
const THEIRS_WAITING: &str = "01a224f1-0d85-7000-89ca-b2b9fd09961e";

async fn holds_keep_their_actor_and_reason() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let keys = host.get("keys").await?;
    let administrator = &keys["keys"][0]["id"];
    let disabled = &host.get("disabled").await?["disabled"][0];
    assert_eq!(disabled["plugin"], json!({ "tenant": "default", "plugin": "again" }));
    assert_eq!(disabled["reason"], "its server is away");
    assert_eq!(&disabled["disabled_by"], administrator);
    for (queue, reason) in [("held", "until the move is over"), ("lossy", "to look at its loss")] {
        let pause = &host.get(&format!("queues/{queue}")).await?["pause"];
        assert_eq!((&pause["reason"], &pause["by"]), (&json!(reason), administrator), "{queue}");
    }
    let audit = host.text("audit", "default").await?;
    ensure!(audit.contains("its server is away"), "{audit}");
    Ok(())
}

async fn payloads_and_outputs_are_as_they_were() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let copied = json!("0123456789abcdef".repeat(128)).to_string();
    assert_eq!(host.text(&format!("jobs/{COPIED}/payload"), "default").await?, copied);
    assert_eq!(host.output(COPIED).await?, copied);
    ensure!(host.log(DATA_5.completed).await?.contains("done"));
    let waiting = host.get(&format!("jobs/{}", DATA_5.available)).await?;
    let asked = json!([waiting["tags"], waiting["env"], waiting["priority"]]);
    assert_eq!(asked, json!([["second"], { "MODE": "fast" }, 3]));

    host.post("queues/held/resume", "default").await?;
    host.completed(LARGE).await?;
    assert_eq!(host.output(LARGE).await?, json!("fedcba9876543210".repeat(128)).to_string());
    Ok(())
}

async fn outputs_of_failed_attempts_are_still_separate() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    for (id, left) in [(DATA_5.discarded, "partial"), (DATA_5.retryable, "so far")] {
        let job = host.get(&format!("jobs/{id}")).await?;
        ensure!(job["output_bytes"].is_null(), "{job}");
        let failed = &job["failed_output"];
        assert_eq!(
            (&failed["attempt"], &failed["outcome"]),
            (&json!(1), &json!("failed")),
            "{job}"
        );
        assert_eq!(host.output(id).await?, left);
    }
    Ok(())
}

async fn a_running_and_a_snoozed_job_continue_from_their_checkpoints() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let running = host.completed(DATA_5.running).await?;
    assert_eq!(outcomes(&running), json!(["lost", "succeeded"]));
    assert_eq!(host.output(DATA_5.running).await?, "half");

    let snoozed = host.get(&format!("jobs/{SNOOZED}")).await?;
    assert_eq!((&snoozed["snoozes"], &snoozed["failures"]), (&json!(1), &json!(0)), "{snoozed}");
    assert_eq!(snoozed["exit_codes"], json!({ "snooze": [75] }));
    // A retry makes it due at once, even before its time.
    host.post(&format!("jobs/{SNOOZED}/retry"), "default").await?;
    host.post("queues/held/resume", "default").await?;
    assert_eq!(outcomes(&host.completed(SNOOZED).await?), json!(["snoozed", "succeeded"]));
    assert_eq!(host.output(SNOOZED).await?, "asked");
    Ok(())
}

fn outcomes(job: &Value) -> Value {
    let attempts = job["attempts"].as_array().into_iter().flatten();
    attempts.map(|attempt| attempt["outcome"].clone()).collect()
}

async fn a_lost_job_stays_in_its_paused_queue_and_can_be_cancelled() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let lost = host.get(&format!("jobs/{LOST}")).await?;
    assert_eq!((&lost["state"], outcomes(&lost)), (&json!("available"), json!(["lost"])), "{lost}");
    host.post(&format!("jobs/{LOST}/cancel"), "default").await?;
    assert_eq!(host.get(&format!("jobs/{LOST}")).await?["state"], "cancelled");
    Ok(())
}

async fn a_scheduled_job_keeps_its_time() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let job = host.get(&format!("jobs/{SCHEDULED}")).await?;
    let times = (&job["scheduled_at"], &job["attempt"]);
    assert_eq!(times, (&json!("2027-11-20T00:00:00Z"), &json!(0)), "{job}");
    Ok(())
}

async fn jobs_of_two_tenants_stay_separate() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let listed: Value = serde_json::from_str(&host.text("jobs", "acme").await?)?;
    let listed = listed["jobs"].as_array().context("jobs")?;
    let ids: Vec<_> = listed.iter().filter_map(|job| job["id"].as_str()).collect();
    assert_eq!(ids, [THEIRS_WAITING, DATA_5.theirs]);
    let path = format!("jobs/{}", DATA_5.theirs);
    let ours = host.request(Method::GET, &path, "default").send().await?;
    assert_eq!(ours.status(), StatusCode::NOT_FOUND);
    let limits = &host.get("tenants/acme").await?["limits"];
    assert_eq!(limits, &json!({ "jobs": 7, "running": 2 }));

    host.post("queues/held/resume", "acme").await?;
    host.text(&format!("jobs/{THEIRS_WAITING}?wait=60s"), "acme").await?;
    assert_eq!(host.text(&format!("jobs/{THEIRS_WAITING}/output"), "acme").await?, "done");
    Ok(())
}

/// The response to a repeated request is the same byte for byte.
async fn a_repeated_request_is_still_recognized() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let submit = async |job: &'static str| {
        let request = host.request(Method::POST, "jobs", "default").body(job);
        let request = request.header("content-type", "application/json");
        anyhow::Ok(request.header("idempotency-key", "kept").send().await?)
    };
    let answer = submit(r#"{"plugin": "ok", "tags": ["first"]}"#).await?;
    let said = answer.headers().get("idempotency-replayed").cloned();
    let job: Value = answer.error_for_status()?.json().await?;
    assert_eq!(said.context("a header")?, "true");
    assert_eq!(
        (&job["id"], &job["state"]),
        (&json!(DATA_5.completed), &json!("completed")),
        "{job}"
    );
    let other = submit(r#"{"plugin": "ok", "tags": ["another"]}"#).await?;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    Ok(())
}

async fn a_repeated_request_is_answered_after_its_job_was_pruned() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    DATA_5.unpack(folder.path())?;
    // After every job of the directory.
    let now: Timestamp = "2026-12-01T00:00:00Z".parse()?;
    let store = EmbeddedStore::open(&folder.path().join("data"), CapacityLimits::default(), now)?;
    store.prune(Retention { completed_before: now, discarded_before: now, now }, 100).await?;
    ensure!(store.get(DATA_5.completed.parse()?).await?.is_none(), "it is pruned");
    let fingerprint = "sha256:4a63a04947fc296eb0722cdbeb20b5a3a8aec836bcde083f7b25413a4871629e";
    let (key, fingerprint) = ("kept".to_owned(), fingerprint.parse()?);
    let dedup = Dedup { key, scope: DedupScope::Request, fingerprint, until: now };
    let answer = store.repeated(&TenantName::default(), &dedup, now).await?;
    let Some(Enqueued::Duplicate(first)) = answer else { anyhow::bail!("{answer:?}") };
    assert_eq!(first.id.to_string(), DATA_5.completed);
    assert_eq!(first.created_at, "2026-11-29T01:35:07.032271Z".parse::<Timestamp>()?);
    let spec = &first.spec;
    assert_eq!((spec.plugin.as_str(), &spec.version.to_string()[..]), ("ok", "1.0.0"));
    assert_eq!((&spec.tags[..], spec.limits.memory_bytes), (&["first".to_owned()][..], 64 << 20));
    Ok(())
}

async fn a_deterministic_job_reads_the_same_as_before() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    let path = format!("jobs/{ROLLED}/output");
    let bytes = async || {
        let answer = host.request(Method::GET, &path, "default").send().await?;
        anyhow::Ok(answer.error_for_status()?.bytes().await?)
    };
    let before = bytes().await?;
    assert_eq!(before.len(), 16);
    host.post(&format!("jobs/{ROLLED}/retry"), "default").await?;
    assert_eq!(host.completed(ROLLED).await?["attempt"], 2);
    assert_eq!(bytes().await?, before);
    Ok(())
}

async fn values_of_a_plugin_are_there_for_its_next_job() -> anyhow::Result<()> {
    let host = Upgraded::start(&DATA_5).await?;
    assert_eq!(host.output(COUNTED).await?, "1");
    host.post(&format!("jobs/{COUNTED}/retry"), "default").await?;
    assert_eq!(host.completed(COUNTED).await?["attempt"], 2);
    assert_eq!(host.output(COUNTED).await?, "2");
    Ok(())
}
