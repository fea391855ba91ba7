//! The `jobwright` program in a process of its own.
//!
//! The test binary contains that program: with [`AS_PROGRAM`] set, it runs as `jobwright`. So the
//! code under test is built once and does not need to be found.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// The variable that makes the test binary run as `jobwright`.
pub const AS_PROGRAM: &str = "JOBWRIGHT_TESTS_AS_PROGRAM";

/// The command `jobwright` with these arguments; the process is killed when dropped. Its stdin is
/// empty, as the stdin of the tests is not a payload.
pub fn jobwright<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<Command> {
    let program = std::env::current_exe()?;
    // All tests share one cache of compiled code, which is not the user's.
    let cache = program.with_file_name("jobwright-cache");
    let mut command = Command::new(program);
    command.args(args).env(AS_PROGRAM, "1").env("JOBWRIGHT_LOG", "error").kill_on_drop(true);
    command.env("XDG_CACHE_HOME", cache).stdin(Stdio::null());
    Ok(command)
}

/// The id of a group other than root's.
const NOGROUP: u32 = 65534;

/// Makes `command` run in another group if the tests run as root with root's group: `/proc` does not show
/// for such processes that they cannot be traced.
pub fn by_another(command: &mut Command) {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0);
    if is_root {
        command.gid(NOGROUP);
    }
}

/// The arguments of a host; the data directory follows.
const SERVE: [&str; 5] = ["serve", "--json", "--listen", "127.0.0.1:0", "--data"];

/// A `jobwright serve`. Killed when dropped.
pub struct HostProcess {
    child: Child,
    url: String,
    /// Kept open, so that the host can write to its stdout.
    _output: BufReader<ChildStdout>,
}

impl HostProcess {
    /// Starts a host on `data`, and waits until it listens.
    pub async fn start(data: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_within(data, flags, &[]).await
    }

    /// Starts a host on `data` after a shell command that limits it, and waits until it listens.
    pub async fn start_limited(data: &Path, limit: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{limit} && exec \"$0\" \"$@\""));
        command.arg(std::env::current_exe()?).args(SERVE).arg(data);
        command.env(AS_PROGRAM, "1").env("JOBWRIGHT_LOG", "error").kill_on_drop(true);
        Self::listening(command.stdin(Stdio::null())).await
    }

    /// Starts a host on `data` with additional environment variables, and waits until it listens.
    pub async fn start_within(
        data: &Path,
        flags: &[&str],
        environment: &[(&str, PathBuf)],
    ) -> anyhow::Result<Self> {
        let mut command = jobwright(SERVE)?;
        Self::listening(command.arg(data).args(flags).envs(environment.iter().cloned())).await
    }

    /// Starts a host on `data` as the leader of a new process group, as a shell does, and waits until it
    /// listens.
    pub async fn start_in_group(data: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        Self::listening(jobwright(SERVE)?.arg(data).args(flags).process_group(0)).await
    }

    /// Starts a host on `data` [by another](by_another), and waits until it listens.
    pub async fn start_by_another(data: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let mut command = jobwright(SERVE)?;
        by_another(&mut command);
        Self::listening(command.arg(data).args(flags)).await
    }

    async fn listening(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.context("cannot start a host")?;
        let mut output = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        if output.read_line(&mut line).await? == 0 {
            bail!("the host ended before it listened: {}", child.wait().await?);
        }
        let told: serde_json::Value = serde_json::from_str(&line)?;
        let url = told["address"].as_str().context("the host prints its address")?.to_owned();
        Ok(Self { child, url, _output: output })
    }

    /// Its address, as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it as a crash would: with SIGKILL.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The peak of its resident memory, in bytes. A later reading can be a little lower: the kernel adds up the
    /// counters of all processors only now and then.
    pub fn peak_bytes(&self) -> anyhow::Result<u64> {
        let id = self.id().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()).context("it has a peak")?;
        Ok(kib.parse::<u64>()? << 10)
    }

    /// Waits until the process has exited.
    pub async fn ended(mut self) -> anyhow::Result<std::process::ExitStatus> {
        Ok(self.child.wait().await?)
    }
}
