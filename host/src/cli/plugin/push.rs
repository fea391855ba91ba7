//! `jobwright plugin push`: uploads a plugin.

use std::path::PathBuf;

use anyhow::Context as _;
use reqwest::Method;

use crate::cli::client::Client;
use crate::cli::exit::Ending;
use crate::cli::sandbox;
use crate::cli::terminal::{Terminal, printable};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Push {
    /// The WebAssembly binary.
    file: PathBuf,
    /// The name of the plugin [default: the file's name].
    #[arg(long)]
    name: Option<String>,
    /// The version, such as 1.2.0 [default: made from its digest].
    #[arg(long)]
    version: Option<String>,
}

impl Push {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let Self { file, name, version } = self;
        let stem = || file.file_stem().map(|stem| stem.to_string_lossy().replace('_', "-"));
        let name =
            name.or_else(stem).context("the file has no name: name the plugin with --name")?;
        let wasm = sandbox::read(&file).await?;
        let progress = terminal.progress(format!("uploading and compiling {name}"));
        let mut request = client.request(Method::PUT, &["plugins", &name]).body(wasm);
        if let Some(version) = version {
            request = request.query(&[("version", version)]);
        }
        let answer = client.json(request).await;
        progress.finish_and_clear();
        let version = answer?;
        terminal.result(
            || version.clone(),
            |out| {
                let text = |field: &str| printable(version[field].as_str().unwrap_or_default());
                writeln!(
                    out,
                    "{}@{}  {}  {}",
                    text("name"),
                    text("version"),
                    text("abi"),
                    text("digest")
                )
            },
        )?;
        Ok(Ending::Done)
    }
}
