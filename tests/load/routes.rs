//! The effect on a tenant of another one that loops over every route, with requests that succeed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright::api::Route;
use jobwright_core::access::Scope;
use jobwright_tests::{HostProcess, guests, tests};
use libtest_mimic::Trial;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{percentile, spread};

pub(super) fn trials() -> Vec<Trial> {
    tests![a_tenant_that_loops_over_every_route_does_not_delay_another]
}

/// Connections of the tenant that loops.
const LOOPS: usize = 40;

/// Its unfinished jobs, which wait for an hour.
const WAITING: usize = 8_000;

/// The bound for the 99th percentile of submissions meanwhile.
const MOST: Duration = Duration::from_millis(250);

/// The percentage of responses that must be successes: waiting jobs have no output, and a plugin or queue
/// that one connection disabled or paused refuses requests of another.
const SUCCESSES: usize = 75;

/// A host that demands keys.
struct Keyed {
    host: HostProcess,
    http: reqwest::Client,
}

impl Keyed {
    fn request(&self, token: Option<&str>, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/v1{path}", self.host.url()));
        token.iter().fold(request, |request, token| request.bearer_auth(token))
    }

    async fn post(&self, token: Option<&str>, path: &str, body: Value) -> anyhow::Result<Value> {
        let sent = self.request(token, Method::POST, path).json(&body).send().await?;
        Ok(sent.error_for_status()?.json().await?)
    }

    async fn key(&self, by: Option<&str>, draft: Value) -> anyhow::Result<String> {
        let made = self.post(by, "/keys", draft).await?;
        Ok(made["key"].as_str().context("a token")?.to_owned())
    }

    /// Uploads version 1.0.0 of a plugin.
    async fn push(&self, token: &str, name: &str) -> anyhow::Result<()> {
        let path = format!("/plugins/{name}?version=1.0.0");
        let upload = self.request(Some(token), Method::PUT, &path).body(guests::echo()?);
        upload.send().await?.error_for_status()?;
        Ok(())
    }
}

/// How long submissions take, one after the other.
async fn submissions(keyed: &Keyed, token: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = vec![];
    for _ in 0..count {
        let start = Instant::now();
        keyed.post(Some(token), "/jobs", json!({ "plugin": "echo", "payload": 1 })).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// One connection of the tenant that loops.
struct Looping {
    keyed: Arc<Keyed>,
    token: String,
    number: usize,
    /// A waiting job that only this connection uses.
    job: String,
}

/// The number of responses and of successes for each route.
type Answers = BTreeMap<String, (usize, usize)>;

impl Looping {
    /// A valid request for `route`.
    fn request(&self, route: &Route, turn: usize) -> anyhow::Result<RequestBuilder> {
        let is = |method: Method, path: &str| route.method == method && route.path == path;
        // Each round uploads and removes a plugin; all other requests concern the plugin with the jobs.
        let comes_and_goes = is(Method::PUT, "/plugins/{name}") || route.method == Method::DELETE;
        let name = match route.path {
            path if path.starts_with("/queues") => "default".to_owned(),
            _ if comes_and_goes => format!("spare{}", self.number),
            _ => "echo".to_owned(),
        };
        let path = route.path.replace("{name}", &name).replace("{version}", "1.0.0");
        let path = path.replace("{id}", &self.job);
        let path = if is(Method::PUT, "/plugins/{name}") { path + "?version=1.0.0" } else { path };
        let request = self.keyed.request(Some(&self.token), route.method.clone(), &path);
        let job = json!({ "plugin": "echo", "delay_ms": 3_600_000 });
        Ok(match (route.method.as_str(), route.path) {
            ("PUT", _) => request.body(guests::echo()?),
            ("PATCH", _) => {
                request.json(&json!({ "output_type": format!("text/x{}-{turn}", self.number) }))
            }
            ("POST", "/jobs") => request.json(&job),
            ("POST", "/jobs/batch") => request.json(&json!([job, job])),
            ("POST", path) if path.ends_with("/disable") || path.ends_with("/pause") => {
                request.json(&json!({ "reason": format!("turn {turn} of {}", self.number) }))
            }
            _ => request,
        })
    }

    /// Loops over the routes until `over` is set. What one route disables, the next one enables.
    async fn run(self, over: Arc<AtomicBool>) -> anyhow::Result<Answers> {
        let mut routes = jobwright::api::routes();
        routes.retain(|route| route.scope != Scope::Admin);
        let start = self.number % routes.len();
        routes.rotate_left(start);
        let mut answers = Answers::new();
        for turn in 0.. {
            for route in &routes {
                if over.load(Ordering::Relaxed) {
                    return Ok(answers);
                }
                let answer = self.request(route, turn)?.send().await?;
                let name = format!("{} {}", route.method, route.path);
                let (sent, succeeded) = answers.entry(name).or_default();
                *sent += 1;
                *succeeded += usize::from(answer.status().is_success());
                answer.bytes().await?;
            }
        }
        Ok(answers)
    }
}

/// A host with a tenant that has many waiting jobs, and another one: their tokens, and jobs of the first.
async fn prepared() -> anyhow::Result<(Keyed, [String; 2], Vec<String>, tempfile::TempDir)> {
    let data = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let host = HostProcess::start(data.path(), &[]).await?;
    let keyed = Keyed { host, http: reqwest::Client::new() };
    let admin = keyed.key(None, json!({ "scopes": ["admin"] })).await?;
    let scopes = ["plugins:write", "jobs:submit", "jobs:read", "jobs:replay"];
    let mut tokens = vec![];
    for tenant in ["looping", "modest"] {
        let token = keyed.key(Some(&admin), json!({ "tenant": tenant, "scopes": scopes })).await?;
        keyed.push(&token, "echo").await?;
        tokens.push(token);
    }
    let batch = Value::Array(vec![json!({ "plugin": "echo", "delay_ms": 3_600_000 }); 1_000]);
    let mut jobs = vec![];
    for _ in 0..WAITING / 1_000 {
        let accepted = keyed.post(Some(&tokens[0]), "/jobs/batch", batch.clone()).await?;
        let ids = accepted.as_array().into_iter().flatten();
        jobs.extend(ids.filter_map(|job| job["id"].as_str().map(str::to_owned)));
    }
    ensure!(jobs.len() == WAITING, "{} were accepted", jobs.len());
    Ok((keyed, [tokens[0].clone(), tokens[1].clone()], jobs, data))
}

async fn a_tenant_that_loops_over_every_route_does_not_delay_another() -> anyhow::Result<()> {
    let (keyed, [looping, modest], jobs, _data) = prepared().await?;
    let keyed = Arc::new(keyed);
    println!("alone: {}", spread(&mut submissions(&keyed, &modest, 300).await?));
    let over = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..LOOPS)
        .map(|number| {
            let (keyed, token, job) = (keyed.clone(), looping.clone(), jobs[number].clone());
            tokio::spawn(Looping { keyed, token, number, job }.run(over.clone()))
        })
        .collect();
    let mut times = submissions(&keyed, &modest, 300).await?;
    over.store(true, Ordering::Relaxed);
    let mut answers = Answers::new();
    for task in loops {
        for (route, (sent, succeeded)) in task.await?? {
            let all = answers.entry(route).or_default();
            *all = (all.0 + sent, all.1 + succeeded);
        }
    }
    for (route, (sent, succeeded)) in &answers {
        println!("{route}: {succeeded} of {sent} succeeded");
    }
    let (sent, succeeded) =
        answers.values().fold((0, 0), |all, route| (all.0 + route.0, all.1 + route.1));
    println!(
        "beside {LOOPS} connections, {succeeded} of whose {sent} requests succeeded: {}",
        spread(&mut times)
    );
    ensure!(succeeded * 100 >= sent * SUCCESSES, "only {succeeded} of {sent} succeeded");
    ensure!(percentile(&times, 99) < MOST, "too slow");
    Ok(())
}
