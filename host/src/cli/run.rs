//! `jobwright run`: one job here, without a host, in the very same sandbox.

use std::path::PathBuf;

use jobwright_core::job::Payload;

use super::attempt::AttemptOptions;
use super::exit::Ending;
use super::payload::PayloadOptions;
use super::sandbox::{self, Sandbox};
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
        let wasm = sandbox::read(&self.file).await?;
        let (bytes, content_type) = self.payload.read().await?;
        let payload = Payload { content_type, bytes: bytes.into() };
        let (sandbox, plugin) = (Sandbox::open()?, (self.file.as_path(), wasm));
        let made = self.options.make(&sandbox, plugin, payload, tokio::signal::ctrl_c()).await?;
        made.show(terminal)
    }
}
