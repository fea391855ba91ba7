//! Values that plugins keep from one job to the next: their bounds and their durability.

mod guests;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use jobwright::services::values::{Bounds, ENTRY_BYTES, Namespace, Values};
use jobwright_core::grant::{Grants, KeyValueGrant};
use jobwright_core::log::LogBuffer;
use jobwright_core::plugin::{Digest, PluginName};
use jobwright_core::services::{
    Body, Capabilities, CapabilityProvider, HostServices, HttpRequestError, KeyValueCall,
    KeyValueError, KeyValueReply, MAX_BUCKET_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Timeouts,
};
use jobwright_core::store::StoreError;
use jobwright_core::{Job, TenantName};
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = tests![
        values_survive_a_restart,
        a_plugin_does_not_see_values_of_another,
        a_quota_is_obeyed_to_the_byte,
        under_a_lowered_quota_values_may_only_shrink,
        the_bound_of_the_host_covers_all_plugins_together,
        a_tenant_at_its_bound_leaves_room_for_another,
        below_the_disk_floor_values_do_not_grow,
        below_the_disk_floor_free_pages_of_the_file_are_used,
        below_the_disk_floor_jobs_store_no_new_values,
        keys_and_values_have_bounds,
        removed_values_are_gone_and_no_longer_count,
        keys_are_listed_in_pages,
        a_swap_replaces_only_the_value_that_it_read,
        only_numbers_in_range_are_added_to,
        a_sum_below_the_minimum_is_not_stored,
        without_a_grant_every_call_is_denied_and_logged,
        concurrent_increments_are_all_counted,
        values_are_kept_until_their_plugin_is_removed,
    ];
    trials.extend(guests::trials());
    trials
}

/// Stored values in a directory of their own.
struct TestValues {
    values: Arc<Values>,
    directory: TempDir,
}

impl TestValues {
    fn new() -> anyhow::Result<Self> {
        Self::open(TempDir::new()?, u64::MAX)
    }

    fn open(directory: TempDir, most_bytes: u64) -> anyhow::Result<Self> {
        Self::bounded(directory, Bounds { most_bytes, free_bytes: 0 })
    }

    fn bounded(directory: TempDir, bounds: Bounds) -> anyhow::Result<Self> {
        let values = Arc::new(Values::open(directory.path(), bounds)?);
        Ok(Self { values, directory })
    }

    /// The values as a host opens them again on a disk below its floor.
    fn reopen_below_the_floor(self) -> anyhow::Result<Self> {
        let Self { values, directory } = self;
        drop(values);
        Self::bounded(directory, Bounds { most_bytes: u64::MAX, free_bytes: u64::MAX })
    }

    /// The values as a host opens them again.
    fn reopen(self) -> anyhow::Result<Self> {
        let Self { values, directory } = self;
        drop(values);
        Self::open(directory, u64::MAX)
    }

    /// The values of a plugin with this quota.
    fn of(&self, plugin: &str, bytes: u64) -> anyhow::Result<Namespace> {
        Ok(Namespace {
            values: self.values.clone(),
            tenant: Default::default(),
            plugin: plugin.parse()?,
            grant: Some(KeyValueGrant { bytes }),
            log: Arc::new(LogBuffer::new(1 << 16)),
        })
    }
}

/// Host services that only have values.
#[derive(Debug)]
struct Keeping(Namespace);

#[async_trait]
impl HostServices for Keeping {
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError> {
        Err(HttpRequestError::Denied("no request is granted".to_owned()))
    }

    async fn key_value(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        self.0.call(call).await
    }

    fn request_bytes(&self) -> u64 {
        0
    }
}

/// Grants every plugin values.
struct Generous(Arc<Values>);

#[async_trait]
impl CapabilityProvider for Generous {
    async fn open(&self, job: &Job, log: &Arc<LogBuffer>) -> Result<Capabilities, StoreError> {
        Ok(granted(Namespace {
            values: self.0.clone(),
            tenant: job.spec.tenant.clone(),
            plugin: job.spec.plugin.clone(),
            grant: Some(KeyValueGrant { bytes: 1000 }),
            log: log.clone(),
        }))
    }

    async fn forget(&self, tenant: &TenantName, plugin: &PluginName) {
        self.0.remove(tenant, plugin).await.expect("a disk");
    }
}

/// The capabilities of an attempt that keeps values.
fn granted(namespace: Namespace) -> Capabilities {
    let grants = Grants { key_value: namespace.grant, ..Grants::default() };
    Capabilities { grants: Arc::new(grants), services: Arc::new(Keeping(namespace)) }
}

fn bucket() -> String {
    "b".to_owned()
}

fn set(key: &str, value: impl Into<Bytes>) -> KeyValueCall {
    KeyValueCall::Set { bucket: bucket(), key: key.to_owned(), value: value.into() }
}

fn get(key: &str) -> KeyValueCall {
    KeyValueCall::Get { bucket: bucket(), key: key.to_owned() }
}

fn add(key: &str, by: i64) -> KeyValueCall {
    KeyValueCall::Increment { bucket: bucket(), key: key.to_owned(), by, least: i64::MIN }
}

fn delete(key: &str) -> KeyValueCall {
    KeyValueCall::Delete { bucket: bucket(), key: key.to_owned() }
}

fn value(text: &str) -> Result<KeyValueReply, KeyValueError> {
    Ok(KeyValueReply::Value(Some(Bytes::copy_from_slice(text.as_bytes()))))
}

const NONE: Result<KeyValueReply, KeyValueError> = Ok(KeyValueReply::Value(None));

fn refused(kept: Result<KeyValueReply, KeyValueError>, part: &str) -> anyhow::Result<()> {
    match kept {
        Err(KeyValueError::Refused(why)) if why.contains(part) => Ok(()),
        other => anyhow::bail!("it was not refused for `{part}`: {other:?}"),
    }
}

async fn values_survive_a_restart() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10_000)?;
    plugin.call(set("k", "old")).await?;
    plugin.call(set("k", "new")).await?;
    plugin.call(add("n", 41)).await?;
    drop(plugin);
    let test_values = test_values.reopen()?;
    let plugin = test_values.of("one", 10_000)?;
    assert_eq!(plugin.call(get("k")).await, value("new"));
    assert_eq!(plugin.call(add("n", 1)).await, Ok(KeyValueReply::Number(42)));
    assert_eq!(plugin.call(get("n")).await, value("42"), "as digits");
    Ok(())
}

async fn a_plugin_does_not_see_values_of_another() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let (one, two) = (test_values.of("one", 10_000)?, test_values.of("two", 10_000)?);
    let foreign = Namespace { tenant: "other".parse()?, ..one.clone() };
    one.call(set("k", "mine")).await?;
    for other in [&two, &foreign] {
        assert_eq!(other.call(get("k")).await, NONE);
        let keys = KeyValueCall::Keys { bucket: bucket(), after: None };
        assert_eq!(other.call(keys).await?, KeyValueReply::Keys { keys: vec![], more: false });
        other.call(set("k", "theirs")).await?;
        other.call(delete("k")).await?;
    }
    assert_eq!(one.call(get("k")).await, value("mine"));
    let elsewhere = KeyValueCall::Get { bucket: "c".to_owned(), key: "k".to_owned() };
    assert_eq!(one.call(elsewhere).await, NONE, "in another bucket");
    Ok(())
}

/// The size of an entry whose bucket and key have one letter each.
const fn entry(length: u64) -> u64 {
    ENTRY_BYTES + 2 + length
}

async fn a_quota_is_obeyed_to_the_byte() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", entry(10) + entry(20))?;
    plugin.call(set("a", vec![0; 10])).await?;
    plugin.call(set("b", vec![0; 20])).await?;
    refused(plugin.call(set("b", vec![0; 21])).await, "the values of the plugin would take")?;
    refused(plugin.call(set("c", "")).await, "more than the maximum of")?;
    refused(plugin.call(add("c", 1)).await, "more than the maximum of")?;
    assert_eq!(
        plugin.call(get("b")).await?,
        KeyValueReply::Value(Some(vec![0; 20].into())),
        "as it was"
    );
    plugin.call(set("a", vec![0; 9])).await?;
    plugin.call(set("b", vec![0; 21])).await?;
    Ok(())
}

async fn under_a_lowered_quota_values_may_only_shrink() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    test_values.of("one", 10_000)?.call(set("a", vec![0; 1000])).await?;
    let plugin = test_values.of("one", 100)?;
    refused(plugin.call(set("a", vec![0; 1001])).await, "more than the maximum of")?;
    plugin.call(set("a", vec![0; 999])).await?;
    plugin.call(delete("a")).await?;
    plugin.call(set("a", "fits")).await?;
    Ok(())
}

async fn the_bound_of_the_host_covers_all_plugins_together() -> anyhow::Result<()> {
    let test_values = TestValues::open(TempDir::new()?, entry(10) + entry(20))?;
    let (one, two) = (test_values.of("one", 10_000)?, test_values.of("two", 10_000)?);
    one.call(set("a", vec![0; 10])).await?;
    refused(two.call(set("a", vec![0; 21])).await, "the values of all plugins would take")?;
    two.call(set("a", vec![0; 20])).await?;
    one.call(delete("a")).await?;
    two.call(set("a", vec![0; 21])).await?;
    Ok(())
}

async fn a_tenant_at_its_bound_leaves_room_for_another() -> anyhow::Result<()> {
    let test_values = TestValues::open(TempDir::new()?, 40 * entry(10))?;
    let greedy = test_values.of("one", u64::MAX)?;
    let mut modest = test_values.of("one", u64::MAX)?;
    modest.tenant = "modest".parse()?;
    let mut kept = 0;
    let why = loop {
        match greedy.call(set(&format!("{kept:02}"), vec![0; 9])).await {
            Ok(_) => kept += 1,
            Err(why) => break why,
        }
    };
    assert_eq!(kept, 35, "{why:?}");
    refused(Err(why), "its share of the host's maximum")?;
    modest.call(set("00", vec![0; 9])).await?;
    // Existing values may be changed and removed.
    greedy.call(set("00", vec![1; 9])).await?;
    greedy.call(delete("00")).await?;
    greedy.call(set("00", vec![2; 9])).await?;
    Ok(())
}

async fn below_the_disk_floor_values_do_not_grow() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10_000)?;
    plugin.call(set("a", "long")).await?;
    plugin.call(add("n", 9)).await?;
    drop(plugin);
    let test_values = test_values.reopen_below_the_floor()?;
    let plugin = test_values.of("one", 10_000)?;
    let swap = |key: &str, from: Option<&[u8]>, to: &'static str| KeyValueCall::Swap {
        bucket: bucket(),
        key: key.to_owned(),
        from: from.map(Digest::of),
        to: to.into(),
    };
    for call in [
        set("b", ""),
        set("a", "longer"),
        add("m", 1),
        add("n", 1),
        swap("b", None, "c"),
        swap("a", Some(b"long"), "longer"),
    ] {
        let kept = plugin.call(call).await;
        let floor = "of free space, less than the floor of 17179869183.9 GiB (`disk.free_bytes`)";
        refused(kept, floor)?;
    }
    let log = crate::runtime::fixture::text(&plugin.log);
    assert_eq!(
        log.matches("WARN: key-value: the disk under the data directory").count(),
        6,
        "{log}"
    );
    // Existing values can be read, listed, replaced without growing, and removed.
    assert_eq!(plugin.call(get("a")).await, value("long"));
    assert_eq!(plugin.call(add("n", -1)).await, Ok(KeyValueReply::Number(8)));
    assert_eq!(
        plugin.call(swap("a", Some(b"long"), "same")).await,
        Ok(KeyValueReply::Swapped(true))
    );
    plugin.call(set("a", "")).await?;
    plugin.call(delete("a")).await?;
    let keys = plugin.call(KeyValueCall::Keys { bucket: bucket(), after: None }).await?;
    assert_eq!(keys, KeyValueReply::Keys { keys: vec!["n".to_owned()], more: false });
    test_values.values.remove(&plugin.tenant, &plugin.plugin).await?;
    assert_eq!(plugin.call(get("n")).await, NONE);
    Ok(())
}

async fn below_the_disk_floor_free_pages_of_the_file_are_used() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    test_values.of("one", 1 << 20)?.call(set("a", vec![0; 512 << 10])).await?;
    let test_values = test_values.reopen_below_the_floor()?;
    let plugin = test_values.of("one", 1 << 20)?;
    let length =
        || Ok::<_, anyhow::Error>(test_values.directory.path().join("values.db").metadata()?.len());
    let before = length()?;
    refused(plugin.call(set("b", "small")).await, "of free space")?;
    plugin.call(delete("a")).await?;
    plugin.call(set("b", vec![1; 256 << 10])).await?;
    refused(plugin.call(set("c", vec![2; 256 << 10])).await, "of free space")?;
    plugin.call(set("c", vec![2; 128 << 10])).await?;
    assert_eq!(length()?, before, "the file has not grown");
    Ok(())
}

async fn keys_and_values_have_bounds() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10 << 20)?;
    let longest = "k".repeat(MAX_KEY_BYTES);
    plugin.call(set(&longest, vec![1; MAX_VALUE_BYTES])).await?;
    let found = plugin.call(get(&longest)).await?;
    assert!(matches!(found, KeyValueReply::Value(Some(value)) if value.len() == MAX_VALUE_BYTES));
    let longer = "k".repeat(MAX_KEY_BYTES + 1);
    for call in [set(&longer, "v"), get(&longer), delete(&longer), add(&longer, 1)] {
        refused(plugin.call(call).await, "the key has 1025 bytes")?;
    }
    refused(
        plugin.call(set("k", vec![1; MAX_VALUE_BYTES + 1])).await,
        "the value has 1048577 bytes",
    )?;
    let bucket = "b".repeat(MAX_BUCKET_BYTES + 1);
    refused(
        plugin.call(KeyValueCall::Open { bucket }).await,
        "the name of the bucket has 256 bytes",
    )?;
    plugin.call(set("", "")).await?;
    assert_eq!(plugin.call(get("")).await, value(""), "nothing is a key and a value too");
    plugin.call(set("a\0b", "c")).await?;
    assert_eq!(plugin.call(get("a")).await, NONE);
    Ok(())
}

async fn removed_values_are_gone_and_no_longer_count() -> anyhow::Result<()> {
    let test_values = TestValues::open(TempDir::new()?, 2 * entry(10))?;
    let (one, two) = (test_values.of("one", 10_000)?, test_values.of("two", 10_000)?);
    for plugin in [&one, &two] {
        plugin.call(set("a", vec![0; 10])).await?;
    }
    test_values.values.remove(&one.tenant, &one.plugin).await?;
    assert_eq!(one.call(get("a")).await, NONE);
    two.call(set("b", vec![0; 10])).await?;
    test_values.values.remove(&one.tenant, &"unheard-of".parse()?).await?;
    Ok(())
}

async fn keys_are_listed_in_pages() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 1 << 20)?;
    let names: Vec<String> = (0..1500).map(|number| format!("key {number:04}")).collect();
    let all = names.iter().map(|key| plugin.call(set(key, "")));
    futures_util::future::try_join_all(all).await?;
    let (mut seen, mut after) = (vec![], None);
    for more_expected in [true, false] {
        let page = plugin.call(KeyValueCall::Keys { bucket: bucket(), after }).await?;
        let KeyValueReply::Keys { keys, more } = page else { anyhow::bail!("no keys: {page:?}") };
        assert_eq!(more, more_expected);
        after = keys.last().cloned();
        seen.extend(keys);
    }
    assert_eq!(seen, names);
    Ok(())
}

async fn a_swap_replaces_only_the_value_that_it_read() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10_000)?;
    let swap = |from: Option<&str>, to: &'static str| KeyValueCall::Swap {
        bucket: bucket(),
        key: "k".to_owned(),
        from: from.map(|text| Digest::of(text.as_bytes())),
        to: to.into(),
    };
    for (from, to, swapped) in [
        (Some("a"), "b", false),
        (None, "b", true),
        (None, "c", false),
        (Some("a"), "c", false),
        (Some("b"), "c", true),
    ] {
        assert_eq!(
            plugin.call(swap(from, to)).await?,
            KeyValueReply::Swapped(swapped),
            "{from:?} {to}"
        );
    }
    assert_eq!(plugin.call(get("k")).await, value("c"));
    Ok(())
}

async fn only_numbers_in_range_are_added_to() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10_000)?;
    assert_eq!(plugin.call(add("n", i64::MAX)).await?, KeyValueReply::Number(i64::MAX));
    refused(plugin.call(add("n", 1)).await, "is out of range")?;
    assert_eq!(plugin.call(add("n", i64::MIN)).await?, KeyValueReply::Number(-1));
    plugin.call(set("n", "seven")).await?;
    refused(plugin.call(add("n", 1)).await, "is not a whole number")?;
    assert_eq!(plugin.call(get("n")).await, value("seven"));
    Ok(())
}

async fn a_sum_below_the_minimum_is_not_stored() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10_000)?;
    plugin.call(set("n", "-5")).await?;
    let from_zero =
        |by| KeyValueCall::Increment { bucket: bucket(), key: "n".to_owned(), by, least: 0 };
    refused(plugin.call(from_zero(4)).await, "the value of `n` is -5: adding 4 is out of range")?;
    assert_eq!(plugin.call(get("n")).await, value("-5"), "as it was");
    assert_eq!(plugin.call(from_zero(5)).await, Ok(KeyValueReply::Number(0)));
    Ok(())
}

async fn without_a_grant_every_call_is_denied_and_logged() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    test_values.of("one", 10_000)?.call(set("k", "v")).await?;
    let plugin = Namespace { grant: None, ..test_values.of("one", 0)? };
    let open = KeyValueCall::Open { bucket: bucket() };
    for call in [open, get("k"), set("k", "w"), delete("k"), add("n", 1)] {
        assert!(matches!(plugin.call(call).await, Err(KeyValueError::Denied(_))));
    }
    let log = crate::runtime::fixture::text(&plugin.log);
    let line = "WARN: key-value: denied: the plugin is not granted a key-value store\n";
    assert_eq!(log, line.repeat(5));
    Ok(())
}

async fn concurrent_increments_are_all_counted() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let plugin = test_values.of("one", 10_000)?;
    let all = (0..500).map(|_| plugin.call(add("n", 1)));
    let sums = futures_util::future::try_join_all(all).await?;
    let mut numbers: Vec<i64> = vec![];
    for sum in sums {
        let KeyValueReply::Number(number) = sum else { anyhow::bail!("no number: {sum:?}") };
        numbers.push(number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>(), "each sum is seen once");
    Ok(())
}

/// The sum that a job of `plugin` outputs.
async fn sum(host: &TestHost, plugin: &str) -> anyhow::Result<u64> {
    let job = host.run(json!({ "plugin": plugin })).await?;
    let url = job["output_url"].as_str().context("it has an output")?;
    crate::runtime::fixture::number(&host.get(url).await?.bytes().await?, 24)
}

async fn values_are_kept_until_their_plugin_is_removed() -> anyhow::Result<()> {
    let test_values = TestValues::new()?;
    let host = TestHost::granting(Arc::new(Generous(test_values.values.clone()))).await?;
    for plugin in ["one", "two"] {
        host.push(plugin, jobwright_tests::guests::assemble(guests::MODULE)?).await?;
    }
    assert_eq!((sum(&host, "one").await?, sum(&host, "one").await?), (7, 14));
    assert_eq!(sum(&host, "two").await?, 7);
    let path = "/v1/plugins/one/versions/1.0.0";
    host.request(Method::DELETE, path).send().await?.error_for_status()?;
    host.push("one", jobwright_tests::guests::assemble(guests::MODULE)?).await?;
    assert_eq!((sum(&host, "one").await?, sum(&host, "two").await?), (7, 14));
    Ok(())
}

/// Exits with 0 if its value was kept, else with 2.
const KEEPS: &str = r#"(module
  (import "jobwright" "value_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $exit (i32.sub (i32.const 0)
      (call $set (i32.const 1024) (i32.const 1) (i32.const 1026) (i32.const 5))))))"#;

async fn below_the_disk_floor_jobs_store_no_new_values() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    host.push("one", jobwright_tests::guests::assemble(KEEPS)?).await?;
    let grants = json!({ "grants": { "key_value": { "bytes": 1000 } } });
    let patched = host.request(Method::PATCH, "/v1/plugins/one").body(grants.to_string());
    patched.send().await?.error_for_status()?;
    host.post("/v1/queues/default/pause", json!({})).await?.error_for_status()?;
    let id = host.submit(json!({ "plugin": "one", "max_attempts": 1 })).await?;
    let host = TestHost::on(host.stop().await?, |config| config.disk.free_bytes = u64::MAX).await?;
    host.post("/v1/queues/default/resume", json!({})).await?.error_for_status()?;
    let job = host.finalized(&id).await?;
    let error = &job["attempts"][0]["error"];
    assert_eq!(
        (&job["state"], &error["code"]),
        (&json!("discarded"), &json!("exit_code")),
        "{job}"
    );
    Ok(())
}
