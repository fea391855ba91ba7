//! The demonstration: builds the example plugins, starts a host, and runs real jobs over HTTP.
//!
//! `cargo demo` leaves the host running; `cargo demo --exit` ends when the jobs are done.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::http::HeaderMap;
use jobwright::Config;
use jobwright_plugins::Plugins;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// How much of this repository's text is counted: under the longest payload.
const TEXT_BYTES: usize = 900 << 10;

/// Never ends by itself, like a plugin with a bug.
const ENDLESS: &str = r#"(module (memory (export "memory") 1)
  (func (export "_start") (loop $again (br $again))))"#;

fn main() -> anyhow::Result<ExitCode> {
    // The host starts this program again for each plugin that it compiles.
    if let Some(code) = jobwright::runtime::run_child_process_if_requested() {
        return Ok(code);
    }
    // For the demo's own client, whose library demands one of the whole process.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new()?.block_on(demo())?;
    Ok(ExitCode::SUCCESS)
}

async fn demo() -> anyhow::Result<()> {
    let stay = match std::env::args().nth(1).as_deref() {
        None => true,
        Some("--exit") => false,
        Some(other) => bail!("unexpected argument `{other}`: use --exit, or none to stay"),
    };
    let plugins = jobwright_plugins::build(|line| eprintln!("{line}"))?;
    let data = tempfile::tempdir()?;
    let listen = SocketAddr::from(([127, 0, 0, 1], if stay { 7878 } else { 0 }));
    let config = Config { listen, data: data.path().to_owned(), ..Config::default() };
    let host = jobwright::build(config).await?;
    let url = format!("http://{}", host.address()?);
    let demo = Demo { url, http: Client::new(), plugins };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(host.run(async { drop(stopped.await) }));
    println!("a host runs at {}, with its data in {}\n", demo.url, data.path().display());

    demo.push().await?;
    demo.count_words().await?;
    demo.describe_csv().await?;
    demo.make_thumbnail(data.path()).await?;
    demo.summarise_log().await?;
    demo.process_orders().await?;
    demo.deliver().await?;
    demo.stop_by_fuel().await?;
    demo.cancel().await?;

    if stay {
        println!("\nThe host stays at {} until Ctrl-C. Try:", demo.url);
        println!("  curl {}/v1/jobs?limit=3", demo.url);
        println!("  curl -d 'to be or not to be' '{}/v1/jobs?plugin=word-count'", demo.url);
        tokio::signal::ctrl_c().await?;
    }
    let _ = stop.send(());
    Ok(running.await?)
}

struct Demo {
    url: String,
    http: Client,
    plugins: Plugins,
}

impl Demo {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        ensure!(status.is_success(), "{status}: {body}");
        Ok(body)
    }

    /// Uploads what could be built.
    async fn push(&self) -> anyhow::Result<()> {
        println!("PLUGINS");
        for plugin in self.plugins.iter() {
            match plugin.wasm() {
                Ok(path) => self.push_one(&plugin.name, std::fs::read(path)?).await?,
                Err(reason) => println!("  {:<18}missing: {reason}", plugin.name),
            }
        }
        self.push_one("endless", wat::parse_str(ENDLESS)?).await?;
        // What the bytes do not tell, an operator can.
        let settings = json!({ "output_type": "image/png" });
        self.json(self.request(Method::PATCH, "/v1/plugins/thumbnail").json(&settings)).await?;
        Ok(())
    }

    async fn push_one(&self, name: &str, wasm: Vec<u8>) -> anyhow::Result<()> {
        let path = format!("/v1/plugins/{name}?version=1.0.0");
        let version = self.json(self.request(Method::PUT, &path).body(wasm)).await?;
        let digest = version["digest"].as_str().unwrap_or_default();
        println!(
            "  {name:<18}{:>8} bytes  {}  {:.19}…",
            version["size_bytes"],
            text(&version["abi"]),
            digest
        );
        Ok(())
    }

    /// The payload of a plugin's sample.
    fn sample(&self, plugin: &str, name: &str) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.plugins.get(plugin).sample(name).payload)?)
    }

    /// Submits a payload, waits for the job's end, and answers it.
    async fn run(&self, query: &str, kind: &str, payload: Vec<u8>) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, &format!("/v1/jobs?{query}"));
        self.json(request.header("content-type", kind).header("prefer", "wait=60").body(payload))
            .await
    }

    async fn count_words(&self) -> anyhow::Result<()> {
        let ours = repository_text()?;
        println!("\nWORDS of this repository's own text ({} bytes)", ours.len());
        let job = self.run("plugin=word-count&arg=8", "text/plain", ours.into_bytes()).await?;
        let output = &job["output"];
        println!(
            "  {} words, {} different; the most frequent:",
            output["words"], output["distinct"]
        );
        for word in output["top"].as_array().into_iter().flatten() {
            println!("  {:>8}  {}", word["count"].to_string(), text(&word["word"]));
        }
        receipt(&job);
        Ok(())
    }

    async fn describe_csv(&self) -> anyhow::Result<()> {
        let csv = self.sample("csv-stats", "elements")?;
        println!("\nSTATISTICS of the chemical elements ({} bytes of CSV)", csv.len());
        let job = self.run("plugin=csv-stats", "text/csv", csv).await?;
        println!("  {} rows", job["output"]["rows"]);
        for column in job["output"]["columns"].as_array().into_iter().flatten() {
            let (name, kind) = (text(&column["name"]), text(&column["type"]));
            let about = match kind {
                "number" => format!(
                    "{} to {}, mean {:.2}",
                    column["min"],
                    column["max"],
                    column["mean"].as_f64().unwrap_or_default()
                ),
                _ => format!("{} different", column["distinct"]),
            };
            println!("  {name:<20}{kind:<8}{about}");
        }
        receipt(&job);
        Ok(())
    }

    async fn make_thumbnail(&self, folder: &Path) -> anyhow::Result<()> {
        let picture = self.sample("thumbnail", "picture")?;
        println!("\nTHUMBNAIL of a picture ({} bytes)", picture.len());
        let job = self.run("plugin=thumbnail&arg=160", "image/png", picture).await?;
        let path = job["output_url"].as_str().context("the thumbnail was made")?;
        let response = self.request(Method::GET, path).send().await?.error_for_status()?;
        let (digest, png) = (response.headers()["content-digest"].clone(), response.bytes().await?);
        let file = folder.join("thumbnail.png");
        std::fs::write(&file, &png)?;
        println!("  {} bytes of {}, {}", png.len(), text(&job["output_type"]), digest.to_str()?);
        println!("  written to {}", file.display());
        receipt(&job);
        Ok(())
    }

    async fn summarise_log(&self) -> anyhow::Result<()> {
        println!("\nACCESS LOG, summarised by a plugin in C");
        if let Err(reason) = self.plugins.get("access-log").wasm() {
            println!("  left out: {reason}");
            return Ok(());
        }
        let log = self.sample("access-log", "sample")?;
        let job = self.run("plugin=access-log", "text/plain", log).await?;
        println!("  {}", job["output"]["status"]);
        receipt(&job);
        Ok(())
    }

    /// A hundred orders in one batch: the classic background queue.
    async fn process_orders(&self) -> anyhow::Result<()> {
        println!("\nORDERS: a hundred in one batch");
        let order: Value = serde_json::from_slice(&self.sample("process-order", "order")?)?;
        let jobs: Vec<Value> = (1..=100).map(|number| order_job(&order, number)).collect();
        let answers = self.json(self.request(Method::POST, "/v1/jobs/batch").json(&jobs)).await?;
        let (mut total, mut slowest) = (0, 0.0_f64);
        for answer in answers.as_array().context("a batch is answered with a list")? {
            let path = format!("/v1/jobs/{}?wait=60s", text(&answer["id"]));
            let job = self.json(self.request(Method::GET, &path)).await?;
            total += job["output"]["total"].as_i64().context("every order has a total")?;
            slowest =
                slowest.max(job["attempts"][0]["usage"]["run_ms"].as_f64().unwrap_or_default());
        }
        let (euros, cents) = (total / 100, total % 100);
        println!("  all priced: {euros}.{cents:02} EUR together; the slowest ran for {slowest} ms");
        Ok(())
    }

    /// To a receiver on this machine: refused at first, then granted.
    async fn deliver(&self) -> anyhow::Result<()> {
        println!("\nA DELIVERY by a plugin to a receiver that asks for a key");
        let (origin, received) = receiver().await?;
        let delivery = json!({ "url": format!("{origin}/orders"), "event": { "order": "A-1001" } });
        let deliver = || {
            let query = "plugin=webhook&max_attempts=1";
            self.run(query, "application/json", delivery.to_string().into_bytes())
        };
        let job = deliver().await?;
        println!("  without a grant: {}", text(&job["attempts"][0]["error"]["message"]));
        let secret = json!({ "value": "s3cr3t-of-the-receiver", "origins": [origin] });
        self.json(self.request(Method::PUT, "/v1/secrets/WEBHOOK_KEY").json(&secret)).await?;
        let grants = json!({ "http": [{ "origin": origin }], "secrets": ["WEBHOOK_KEY"] });
        let settings = json!({ "grants": grants });
        self.json(self.request(Method::PATCH, "/v1/plugins/webhook").json(&settings)).await?;
        let job = deliver().await?;
        ensure!(job["state"] == "completed", "it was not delivered: {job}");
        println!("  under one: {}; the receiver saw the key, the plugin did not:", job["output"]);
        println!("    {}", received.await?);
        receipt(&job);
        Ok(())
    }

    async fn stop_by_fuel(&self) -> anyhow::Result<()> {
        println!("\nA LIMIT: an endless loop with a budget of 50,000,000 instructions");
        let job = self.run("plugin=endless&limits.fuel=50000000", "text/plain", vec![]).await?;
        ensure!(job["attempts"][0]["limit"] == "fuel", "the fuel limit did not end it: {job}");
        println!("  {}: {}", text(&job["state"]), text(&job["attempts"][0]["error"]["message"]));
        receipt(&job);
        Ok(())
    }

    async fn cancel(&self) -> anyhow::Result<()> {
        println!("\nA CANCELLATION: the same loop with the usual budget, cancelled while it runs");
        let submit = self.request(Method::POST, "/v1/jobs?plugin=endless");
        let path = format!("/v1/jobs/{}", text(&self.json(submit).await?["id"]));
        while self.json(self.request(Method::GET, &path)).await?["state"] != "running" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It is to be seen running for a moment.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.json(self.request(Method::POST, &format!("{path}/cancel"))).await?;
        let job = self.json(self.request(Method::GET, &format!("{path}?wait=10s"))).await?;
        ensure!(job["state"] == "cancelled", "it was not cancelled: {job}");
        println!("  {} after attempt {}", text(&job["state"]), job["attempt"]);
        receipt(&job);
        Ok(())
    }
}

/// An origin that takes one delivery, and the key that came with it.
async fn receiver() -> anyhow::Result<(String, oneshot::Receiver<String>)> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let (sender, received) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let take = axum::routing::post(async move |headers: HeaderMap| {
        let key = headers.get("authorization").and_then(|key| key.to_str().ok());
        if let Some(sender) = sender.lock().ok().and_then(|mut sender| sender.take()) {
            let _ = sender.send(format!("authorization: {}", key.unwrap_or("none")));
        }
    });
    let router = axum::Router::new().route("/orders", take);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((origin, received))
}

fn order_job(order: &Value, number: i64) -> Value {
    let mut order = order.clone();
    order["order_id"] = format!("A-{}", 1000 + number).into();
    order["lines"][0]["quantity"] = (1 + number % 7).into();
    json!({ "plugin": "process-order@1", "payload": order, "tags": ["demo"] })
}

/// This repository's sources and texts, as far as they fit into one payload.
fn repository_text() -> anyhow::Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("host"), root.join("tests"), root.join("guest-sdk")];
    let mut text = std::fs::read_to_string(root.join("README.md"))?;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
                text.push_str(&std::fs::read_to_string(path)?);
            }
        }
    }
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    Ok(text)
}

fn receipt(job: &Value) {
    let usage = &job["attempts"][0]["usage"];
    let fuel = usage["fuel"].as_u64().map_or("not metered".to_owned(), |fuel| fuel.to_string());
    println!(
        "  receipt: queued {} ms, ran {} ms, processor {} ms, fuel {fuel}, memory {} KiB, output {} bytes",
        usage["queue_ms"],
        usage["run_ms"],
        usage["cpu_ms"],
        usage["peak_memory_bytes"].as_u64().unwrap_or_default() >> 10,
        usage["output_bytes"],
    );
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
