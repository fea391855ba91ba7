//! `jobwright run`: runs a job without a host, in the same sandbox.

use std::path::PathBuf;

use jobwright_core::job::Payload;

use super::attempt::{AttemptOptions, Wasm};
use super::exit::Ending;
use super::payload::PayloadOptions;
use super::sandbox;
use super::signals::Signals;
use super::terminal::Terminal;

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The WebAssembly binary.
    file: PathBuf,
    #[command(flatten)]
    payload: PayloadOptions,
    #[command(flatten)]
    options: AttemptOptions,
}

impl Run {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        let mut signals = Signals::listen()?;
        let wasm = sandbox::read(&self.file).await?;
        let (bytes, content_type) = self.payload.read().await?;
        let payload = Payload { content_type, bytes: bytes.into() };
        let host = self.options.open()?;
        let plugin = Wasm { file: &self.file, bytes: wasm };
        let progress = terminal.progress(format!("compiling and running {}", self.file.display()));
        let stopped = signals.stopped();
        let made = self.options.make(&host, plugin, payload, stopped).await;
        progress.finish_and_clear();
        made?.show(terminal)
    }
}
