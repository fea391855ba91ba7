//! What a tenant notices of another one that loops over every route.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_core::access::Scope;
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{percentile, spread};

pub(super) fn trials() -> Vec<Trial> {
    tests![a_tenant_that_loops_over_every_route_does_not_hold_up_another]
}

/// Connections of the tenant that loops.
const LOOPS: usize = 40;

/// Its unfinished jobs, which wait for an hour.
const WAITING: usize = 8_000;

/// The longest that one submission of a hundred may take beside it.
const MOST: Duration = Duration::from_millis(250);

/// A host that demands keys.
struct Keyed {
    host: HostProcess,
    http: reqwest::Client,
}

impl Keyed {
    async fn ask(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Value,
    ) -> anyhow::Result<reqwest::Response> {
        let request = self.http.request(method, format!("{}/v1{path}", self.host.url()));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        Ok(if body.is_null() { request } else { request.json(&body) }.send().await?)
    }

    async fn key(&self, by: Option<&str>, draft: Value) -> anyhow::Result<String> {
        let made = self.ask(by, Method::POST, "/keys", draft).await?.error_for_status()?;
        let made: Value = made.json().await?;
        Ok(made["key"].as_str().context("a token")?.to_owned())
    }
}

/// How long submissions take, one after the other.
async fn submissions(keyed: &Keyed, token: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = vec![];
    for _ in 0..count {
        let job = json!({ "plugin": "echo", "payload": 1 });
        let start = Instant::now();
        keyed.ask(Some(token), Method::POST, "/jobs", job).await?.error_for_status()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

async fn a_tenant_that_loops_over_every_route_does_not_hold_up_another() -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let keyed = Arc::new(Keyed { host, http: reqwest::Client::new() });
    let admin = keyed.key(None, json!({ "scopes": ["admin"] })).await?;
    let mut tokens = vec![];
    for tenant in ["looping", "modest"] {
        let scopes = ["plugins:write", "jobs:submit", "jobs:read"];
        let token = keyed.key(Some(&admin), json!({ "tenant": tenant, "scopes": scopes })).await?;
        let upload = keyed.http.put(format!("{}/v1/plugins/echo", keyed.host.url()));
        upload.bearer_auth(&token).body(guests::echo()?).send().await?.error_for_status()?;
        tokens.push(token);
    }
    let [looping, modest] = [tokens[0].clone(), tokens[1].clone()];
    let batch = Value::Array(vec![json!({ "plugin": "echo", "delay_ms": 3_600_000 }); 1_000]);
    for _ in 0..WAITING / 1_000 {
        let sent = keyed.ask(Some(&looping), Method::POST, "/jobs/batch", batch.clone()).await?;
        sent.error_for_status()?;
    }
    println!("alone: {}", spread(&mut submissions(&keyed, &modest, 300).await?));
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut loops = vec![];
    for n in 0..LOOPS {
        let (keyed, token) = (keyed.clone(), looping.clone());
        let (over, sent) = (over.clone(), sent.clone());
        loops.push(tokio::spawn(async move {
            let mut routes = jobwright::api::routes();
            routes.retain(|route| route.scope != Scope::Admin);
            let start = n % routes.len();
            routes.rotate_left(start);
            for turn in 0u64.. {
                for route in &routes {
                    let path = route.path.replace("{version}", "1.0.0").replace("{id}", "none");
                    let path = path.replace("{name}", if turn % 2 == 0 { "echo" } else { "none" });
                    let body = match route.method.as_str() {
                        "GET" | "DELETE" => Value::Null,
                        "PATCH" => json!({ "output_type": format!("text/x{n}-{turn}") }),
                        _ => json!({ "plugin": "echo", "delay_ms": 3_600_000 }),
                    };
                    if over.load(Ordering::Relaxed) {
                        return anyhow::Ok(());
                    }
                    // Whatever is answered.
                    keyed.ask(Some(&token), route.method.clone(), &path, body).await?;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        }));
    }
    let mut times = submissions(&keyed, &modest, 300).await?;
    over.store(true, Ordering::Relaxed);
    let sent = sent.load(Ordering::Relaxed);
    println!("beside {LOOPS} connections that sent {sent} requests: {}", spread(&mut times));
    for task in loops {
        task.await??;
    }
    ensure!(percentile(&times, 99) < MOST, "too slow");
    Ok(())
}
