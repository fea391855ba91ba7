//! `jobwright dev`: the job of `jobwright run` again and again, whenever its plugin or payload
//! changes.

use std::io::{self, Write as _};
use std::path::PathBuf;

use jobwright_core::job::Payload;
use serde_json::json;

use super::attempt::{AttemptOptions, Wasm};
use super::exit::{self, Ending};
use super::grants::Granting;
use super::payload;
use super::sandbox::{self, Sandbox};
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

/// Why an attempt is over before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The files have changed.
    Changed,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Dev {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        let mut signals = Signals::listen()?;
        // Kept from attempt to attempt: only what has changed is compiled again.
        let (sandbox, granting) = (self.options.sandbox()?, self.options.open()?);
        let here = (&sandbox, &granting);
        let files = std::iter::once(&self.file).chain(&self.payload).cloned();
        let mut watch = Watch::new(files.collect());
        let mut cut = next(&mut watch, &mut signals).await;
        while cut == Cut::Changed {
            cut = match self.attempt(here, terminal, next(&mut watch, &mut signals)).await {
                Ok(Some(cut)) => cut,
                Ok(None) => next(&mut watch, &mut signals).await,
                // Nobody reads the output any more.
                Err(error) if exit::is_unread(&error) => return Err(error),
                Err(error) => {
                    // The next build may do better.
                    exit::failed(&error, terminal.is_json());
                    next(&mut watch, &mut signals).await
                }
            };
        }
        Ok(Ending::Done)
    }

    /// Makes an attempt and shows it, or says what is wrong; answers what has cut it short.
    async fn attempt(
        &self,
        here: (&Sandbox, &Granting),
        terminal: &Terminal,
        next: impl Future<Output = Cut>,
    ) -> anyhow::Result<Option<Cut>> {
        if self.file.try_exists().is_ok_and(|is_there| !is_there) {
            self.say_waiting(terminal)?;
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
        let made = self.options.make(here, plugin, payload, cancelled).await;
        progress.finish_and_clear();
        let made = made?;
        if cut != Some(Cut::Interrupted) {
            made.show(terminal)?;
        }
        Ok(cut)
    }

    /// Says that the plugin is awaited.
    fn say_waiting(&self, terminal: &Terminal) -> io::Result<()> {
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

/// What ends the present attempt, or the wait for another.
async fn next(watch: &mut Watch, signals: &mut Signals) -> Cut {
    tokio::select! {
        () = watch.changed() => Cut::Changed,
        () = signals.stopped() => Cut::Interrupted,
    }
}
