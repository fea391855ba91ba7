//! The payload of a job, from an argument, a file or standard input.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;

use super::exit::Fault;
use super::options::header;

/// How long to wait for standard input before telling the user about it.
const NOTE_DELAY: Duration = Duration::from_secs(1);

/// The payload of a job.
#[derive(Debug, clap::Args)]
pub(super) struct PayloadOptions {
    /// A file with the payload; `-` for standard input [default: what is piped in].
    ///
    /// Without --payload and --data, the payload is what is piped into the command, or a file that
    /// is its standard input; it is empty if that is a terminal or `/dev/null`. In a loop that reads
    /// its own input, or where a pipe stays open, give --data '' for an empty payload.
    #[arg(long, short, value_name = "FILE|-")]
    payload: Option<PathBuf>,
    /// The payload itself [default: none].
    #[arg(long, value_name = "TEXT", conflicts_with = "payload")]
    data: Option<String>,
    /// The media type of the payload [default: from the file's name].
    #[arg(long, value_name = "TYPE", value_parser = header)]
    content_type: Option<String>,
}

impl PayloadOptions {
    /// Reads the payload. Returns its bytes and media type.
    pub(super) async fn read(self) -> anyhow::Result<(Vec<u8>, Option<String>)> {
        let (bytes, guessed) = match (&self.payload, self.data) {
            (Some(path), _) if path == Path::new("-") => (standard_input().await?, None),
            (Some(path), _) => read(path).await?,
            (None, Some(data)) => (data.into_bytes(), None),
            (None, None) if is_piped() => (standard_input().await?, None),
            (None, None) => (vec![], None),
        };
        Ok((bytes, self.content_type.or(guessed.map(str::to_owned))))
    }
}

/// Reads a file. Returns its bytes, and the media type that its name implies.
pub(super) async fn read(path: &Path) -> anyhow::Result<(Vec<u8>, Option<&'static str>)> {
    let bytes = tokio::fs::read(path).await.with_context(|| {
        Fault::NoInput.failure(format!("cannot read the payload {}", path.display()))
    })?;
    Ok((bytes, guess(path)))
}

/// Whether standard input is a pipe or a file. Services and schedulers start programs with a socket or a
/// device there, which has no payload.
fn is_piped() -> bool {
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let kind = input.and_then(|input| input.metadata()).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file())
}

/// Reads all of standard input. Prints a note if no data arrives: a script may have inherited a pipe
/// that is never closed.
async fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut input = tokio::io::stdin();
    let mut bytes = Vec::with_capacity(64 << 10);
    let first = input.read_buf(&mut bytes);
    tokio::pin!(first);
    let first = tokio::select! {
        first = &mut first => first,
        () = tokio::time::sleep(NOTE_DELAY) => {
            use io::Write as _;
            let note = "waiting for the payload on standard input; --data '' sends an empty payload";
            let _ = writeln!(io::stderr(), "{note}");
            first.await
        }
    };
    let failed = || Fault::NoInput.failure("cannot read standard input");
    if first.with_context(failed)? > 0 {
        input.read_to_end(&mut bytes).await.with_context(failed)?;
    }
    Ok(bytes)
}

fn guess(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some("application/json"),
        "csv" => Some("text/csv"),
        "txt" | "md" | "log" => Some("text/plain"),
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        _ => None,
    }
}
