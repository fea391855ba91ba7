//! `jobwright dev`: runs a job as `jobwright run` does, again whenever its plugin or payload changes.

use std::io::{self, Write as _};
use std::path::PathBuf;

use jobwright_core::job::Payload;
use serde_json::json;

use super::attempt::{AttemptOptions, LocalHost, Wasm};
use super::exit::{self, Ending};
use super::payload;
use super::sandbox;
use super::signals::Signals;
use super::terminal::Terminal;
use super::watch::Watch;

#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// The WebAssembly binary; it need not exist yet.
    file: PathBuf,
    /// A file with the payload, which is watched too [default: an empty payload].
    #[arg(long, short, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// The media type of the payload [default: from the file's name].
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    #[command(flatten)]
    options: AttemptOptions,
}

/// What interrupts an attempt, or the wait for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    /// A watched file has changed.
    FilesChanged,
    /// Ctrl-C or SIGTERM.
    Signal,
}

impl Dev {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        let mut signals = Signals::listen()?;
        // Reused for all attempts, so that only changed plugins are compiled again.
        let host = self.options.open()?;
        let files = std::iter::once(&self.file).chain(&self.payload).cloned();
        let mut watch = Watch::new(files.collect());
        let mut cut = next(&mut watch, &mut signals).await;
        while cut == Interruption::FilesChanged {
            cut = match self.attempt(&host, terminal, next(&mut watch, &mut signals)).await {
                Ok(Some(cut)) => cut,
                Ok(None) => next(&mut watch, &mut signals).await,
                Err(error) if exit::is_broken_pipe(&error) => return Err(error),
                Err(error) => {
                    // The next build may fix it.
                    exit::report(&error, terminal.is_json());
                    next(&mut watch, &mut signals).await
                }
            };
        }
        Ok(Ending::Done)
    }

    /// Runs an attempt and shows its result. Returns what interrupted it, if anything.
    async fn attempt(
        &self,
        host: &LocalHost,
        terminal: &Terminal,
        next: impl Future<Output = Interruption>,
    ) -> anyhow::Result<Option<Interruption>> {
        if self.file.try_exists().is_ok_and(|is_there| !is_there) {
            self.report_waiting(terminal)?;
            return Ok(None);
        }
        let wasm = sandbox::read(&self.file).await?;
        let payload = self.payload().await?;
        if !terminal.is_json() {
            writeln!(io::stderr(), "\nrunning {}", self.file.display())?;
        }
        let mut cut = None;
        let cancelled = async { cut = Some(next.await) };
        let plugin = Wasm { file: &self.file, bytes: wasm };
        let progress = terminal.progress(format!("compiling and running {}", self.file.display()));
        let made = self.options.make(host, plugin, payload, cancelled).await;
        progress.finish_and_clear();
        let made = made?;
        if cut != Some(Interruption::Signal) {
            made.show(terminal)?;
        }
        Ok(cut)
    }

    /// Reports that the plugin file does not exist yet.
    fn report_waiting(&self, terminal: &Terminal) -> io::Result<()> {
        let file = self.file.display().to_string();
        match terminal.is_json() {
            true => writeln!(io::stderr(), "{}", json!({ "waiting": file })),
            false => writeln!(io::stderr(), "waiting for {file}"),
        }
    }

    async fn payload(&self) -> anyhow::Result<Payload> {
        let (bytes, guessed) = match &self.payload {
            Some(file) => payload::read(file).await?,
            None => (vec![], None),
        };
        let content_type = self.content_type.clone().or(guessed.map(str::to_owned));
        Ok(Payload { content_type, bytes: bytes.into() })
    }
}

/// Waits for the next interruption.
async fn next(watch: &mut Watch, signals: &mut Signals) -> Interruption {
    tokio::select! {
        () = watch.changed() => Interruption::FilesChanged,
        () = signals.stopped() => Interruption::Signal,
    }
}
