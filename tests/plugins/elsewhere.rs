//! Published plugins for other hosts, unchanged: they are in the archives of Rust packages, which cargo
//! fetches and unpacks. None is compiled.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright_core::Digest;
use jobwright_tests::TestHost;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::fixture::Fixture;

/// A file in the archive of a package.
#[derive(Clone, Copy)]
struct Published {
    package: &'static str,
    version: &'static str,
    file: &'static str,
    digest: &'static str,
}

/// A sub-command of wasmCloud's shell `wash`: a WASI 0.2 command that sends a request to a website.
const WASH: Published = Published {
    package: "wash-lib",
    version: "0.33.0",
    file: "tests/fixtures/hello_plugin_s.wasm",
    digest: "sha256:d6e223d383a889915b4914889231967a110453fccf6cd8da5f07842833c5bef5",
};

/// The plug-in of the introduction to Extism.
const VOWELS: Published = Published {
    package: "extism-pdk",
    version: "1.4.1",
    file: "count_vowels.wasm",
    digest: "sha256:94b7a495b01216331049b40a8120a9c96ece804c571d6fb6eb19ad9bf83c6d64",
};

/// An Extism plug-in that fetches a page.
const FETCH: Published = Published {
    package: "extism-pdk",
    version: "1.4.1",
    file: "test/http.wasm",
    digest: "sha256:5b65ab539673793552483ece5478fd991342a93fdd0e043157f827977d1e34cf",
};

pub(super) fn trials(fixture: &Arc<Fixture>, demanded: bool) -> Vec<Trial> {
    let of = |published: Published, trial: Trial| match published.path() {
        Ok(_) => trial,
        Err(_) if demanded => trial,
        Err(error) => trial.with_kind(format!("{error:#}")).with_ignored_flag(true),
    };
    vec![
        of(WASH, fixture.trial("elsewhere::a_command_of_wash_runs", a_command_runs)),
        of(WASH, fixture.trial("elsewhere::its_request_is_denied", its_request_is_denied)),
        of(VOWELS, fixture.trial("elsewhere::an_extism_plug_in_runs", an_extism_plug_in_runs)),
        of(FETCH, fixture.trial("elsewhere::its_request_is_refused", its_request_is_refused)),
    ]
}

impl Published {
    /// The path of the file, which is fetched if it is missing.
    fn path(self) -> anyhow::Result<PathBuf> {
        let unpacked = || {
            let home = std::env::home_dir().unwrap_or_default().join(".cargo");
            let home = std::env::var_os("CARGO_HOME").map_or(home, PathBuf::from);
            let sources = std::fs::read_dir(home.join("registry/src")).into_iter().flatten();
            let folder = format!("{}-{}", self.package, self.version);
            let file = |source: PathBuf| source.join(&folder).join(self.file);
            sources.flatten().map(|source| file(source.path())).find(|file| file.is_file())
        };
        if let Some(file) = unpacked() {
            return Ok(file);
        }
        let package = format!("{}@{}", self.package, self.version);
        // `cargo info` downloads the package.
        let mut cargo = Command::new("cargo");
        // Fails soon without a network.
        cargo.env("CARGO_NET_RETRY", "0").env("CARGO_HTTP_TIMEOUT", "20");
        let fetched = cargo.args(["info", "--quiet", &package]).output()?;
        unpacked().with_context(|| {
            format!("{package} cannot be had: {}", String::from_utf8_lossy(&fetched.stderr))
        })
    }

    /// Uploads the file as the plugin `name`, and runs a job with one attempt.
    async fn run(self, host: &TestHost, name: &str, options: Value) -> anyhow::Result<Value> {
        let wasm = std::fs::read(self.path()?)?;
        ensure!(Digest::of(&wasm).to_string() == self.digest, "{} has other bytes", self.file);
        host.push(name, wasm).await?;
        let mut job = json!({ "plugin": name, "max_attempts": 1 });
        for (option, value) in options.as_object().context("options are an object")? {
            job[option] = value.clone();
        }
        host.run(job).await
    }
}

async fn a_command_runs(fixture: Arc<Fixture>) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    let job = WASH.run(host, "wash", json!({ "args": ["--help"] })).await?;
    // The command treats `--help` as a failure.
    ensure!(job["attempts"][0]["error"]["code"] == "exit_code", "{job}");
    let log = host.log(job["id"].as_str().unwrap_or_default()).await?;
    ensure!(log.contains("Usage: wash [OPTIONS] --foo <FOO> <path>"), "{log}");
    Ok(())
}

async fn its_request_is_denied(fixture: Arc<Fixture>) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    let job = WASH.run(host, "wash-asks", json!({ "args": ["--foo", "bar", "/tmp"] })).await?;
    ensure!(job["attempts"][0]["outcome"] == "trapped", "{job}");
    let log = host.log(job["id"].as_str().unwrap_or_default()).await?;
    ensure!(log.contains("HTTP request failed: ErrorCode::HttpRequestDenied"), "{log}");
    Ok(())
}

async fn an_extism_plug_in_runs(fixture: Arc<Fixture>) -> anyhow::Result<()> {
    let job =
        VOWELS.run(fixture.host().await?, "vowels", json!({ "payload": "elsewhere" })).await?;
    ensure!(job["output"] == json!({ "count": 4 }), "{job}");
    Ok(())
}

async fn its_request_is_refused(fixture: Arc<Fixture>) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    let payload = json!({ "url": "http://127.0.0.1/" });
    let job = FETCH.run(host, "fetch", json!({ "payload": payload })).await?;
    // As by Extism's own hosts, the call fails.
    ensure!(job["attempts"][0]["error"]["code"] == "http_request", "{job}");
    let log = host.log(job["id"].as_str().unwrap_or_default()).await?;
    ensure!(log.contains("denied: the plugin is not granted HTTP requests"), "{log}");
    Ok(())
}
