//! A runner, as the host sees it: its process, and the code that it has loaded.
//!
//! Invariants: a runner has one attempt at a time; dropping it kills the process.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::FutureExt as _;
use jobwright_core::attempt::Attempt;
use jobwright_core::job::JobSpec;
use jobwright_core::plugin::{Digest, PluginName};
use jobwright_core::tenant::TenantName;
use rustix::process::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::super::code::key::CodeKey;
use super::super::config::EngineConfig;
use super::super::profile::Profile;
use super::bounds::{CALLS, RESPONSES};
use super::child::RUNNER_VARIABLE;
use super::memory;
use super::message::{FromRunner, ToRunner, Unloaded};
use super::pipe::Pipe;
use crate::clock::Stopwatch;
use crate::registry::compiler::SMALL_ARENAS;

/// The name of the process in a list of processes.
const TITLE: &str = "run-attempts";

/// The time limit for a process to become ready: a thousand times the usual time.
const START: Duration = Duration::from_secs(20);

/// How long it may take to load code: the largest plugins take a second on a busy machine.
const LOAD: Duration = Duration::from_secs(20);

/// How long to wait for the end of a process that has closed its pipe.
const BURIAL: Duration = Duration::from_secs(1);

/// The maximum length of messages that a runner sends while it has no attempt.
const SHORT_BYTES: usize = 64 << 10;

/// A process, and the pipe to it.
pub(super) struct Runner {
    child: Child,
    pub(super) pipe: Pipe<ToRunner, FromRunner>,
    /// The code that it has loaded: of one digest, in one or both profiles.
    loaded: Vec<CodeKey>,
    /// The owner of its attempts: data that an attempt leaves behind in the process reaches no
    /// other owner.
    pub(super) owner: Option<Owner>,
    /// The memory that it could write to when it was ready, in bytes, if the system shows it.
    footprint: Option<u64>,
    /// The size of that code, in bytes.
    code_bytes: u64,
    /// Since when it has been idle.
    pub(super) idle: Stopwatch,
}

/// The owner of the attempts that share a process. Other plugins of the same tenant have other
/// owners, because their payloads, outputs and grants must not reach this plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    tenant: TenantName,
    plugin: PluginName,
    digest: Digest,
}

impl Owner {
    /// The owner of `attempt`.
    pub(super) fn of(attempt: &Attempt) -> Self {
        let JobSpec { tenant, plugin, digest, .. } = &*attempt.job.spec;
        Self { tenant: tenant.clone(), plugin: plugin.clone(), digest: *digest }
    }
}

/// A runner that is ready.
pub(super) struct Started {
    pub(super) runner: Runner,
    /// Which layers of its sandbox the system lacks.
    pub(super) missing: Vec<String>,
}

impl Runner {
    /// Starts a process, and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or does not get ready: also because this program does not call
    /// [`run_child_process_if_requested`](crate::runtime::run_child_process_if_requested).
    pub(super) async fn start(config: EngineConfig) -> anyhow::Result<Started> {
        let mut runner = Self::spawn()?;
        let ready = async {
            runner.pipe.writer.write(&ToRunner::Begin(config)).await?;
            runner.pipe.reader.read().await
        };
        match timeout(START, ready).await {
            Ok(Ok(FromRunner::Ready(Ok(mut missing)))) => {
                runner.footprint = runner.process().and_then(memory::footprint);
                missing.extend(runner.bound(0).err().map(|why| format!("memory limit ({why})")));
                Ok(Started { runner, missing })
            }
            Ok(Ok(FromRunner::Ready(Err(why)))) => {
                bail!("an attempt process cannot start: {why}")
            }
            Ok(Ok(_)) => bail!("an attempt process sent an unexpected first message"),
            Ok(Err(_)) => {
                let end = runner.end().await;
                bail!("an attempt process did not become ready: it {end}")
            }
            Err(_) => bail!("an attempt process did not become ready within {START:?}"),
        }
    }

    fn spawn() -> anyhow::Result<Self> {
        let (ours, its) = UnixStream::pair()?;
        let its = its.into_std()?;
        its.set_nonblocking(false)?;
        // Not the program's path: the file may be replaced while the host runs.
        let child = Command::new("/proc/self/exe")
            .arg(TITLE)
            .env_clear()
            .env(RUNNER_VARIABLE, "1")
            .envs(SMALL_ARENAS)
            .current_dir("/")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start an attempt process")?;
        Ok(Self {
            child,
            pipe: Pipe::new(ours, SHORT_BYTES),
            loaded: vec![],
            owner: None,
            footprint: None,
            code_bytes: 0,
            idle: Stopwatch::start(),
        })
    }

    /// Whether it has loaded this code.
    pub(super) fn has(&self, key: CodeKey) -> bool {
        self.loaded.contains(&key)
    }

    /// Whether it is alive, and has sent nothing but the calls that its last attempt dropped at its end.
    pub(super) fn lives(&mut self) -> bool {
        self.pipe.reader.set_longest(SHORT_BYTES);
        let said = self.answer().now_or_never();
        said.is_none() && matches!(self.child.try_wait(), Ok(None))
    }

    /// Its next message, apart from the calls that its last attempt dropped at its end.
    async fn answer(&mut self) -> io::Result<FromRunner> {
        for _ in 0..CALLS + RESPONSES {
            match self.pipe.reader.read().await? {
                FromRunner::Dropped { .. } => {}
                message => return Ok(message),
            }
        }
        self.pipe.reader.read().await
    }

    fn process(&self) -> Option<Pid> {
        self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
    }

    /// Limits its memory: its footprint when it was ready, the same for a second engine, its code,
    /// and `more` bytes.
    ///
    /// # Errors
    /// With the reason; then it is not bounded.
    pub(super) fn bound(&self, more: u64) -> Result<(), String> {
        let footprint = self.footprint.ok_or("its size is not shown in /proc")?;
        let process = self.process().ok_or("it has ended")?;
        let has_second = self.loaded.iter().any(|key| key.profile == Profile::Epochs);
        let engines = footprint.saturating_mul(1 + u64::from(has_second));
        let parts = [engines, memory::of_code(self.code_bytes), more];
        let most = parts.into_iter().fold(0, u64::saturating_add);
        memory::bound(process, most).map_err(|error| error.to_string())
    }

    /// Loads code into the process, unless it is loaded.
    ///
    /// # Errors
    /// With the reason. The runner cannot be used any more.
    pub(super) async fn load(&mut self, key: CodeKey, artefact: Bytes) -> Result<(), Unloaded> {
        if self.has(key) {
            return Ok(());
        }
        self.loaded.push(key);
        self.code_bytes = self.code_bytes.saturating_add(artefact.len() as u64);
        // The operator was warned at start if the process cannot be bounded on this machine.
        let _ = self.bound(0);
        let loading = async {
            self.pipe.writer.write(&ToRunner::Load(key)).await?;
            self.pipe.writer.write_raw(artefact).await?;
            self.pipe.reader.set_longest(SHORT_BYTES);
            self.answer().await
        };
        Err(Unloaded::Failed(match timeout(LOAD, loading).await {
            Ok(Ok(FromRunner::Loaded(loaded))) => return loaded,
            Ok(Ok(_)) => "it sent an unexpected reply".to_owned(),
            Ok(Err(_)) => format!("its process {}", self.end().await),
            Err(_) => format!("it took more than {LOAD:?}"),
        }))
    }

    /// Kills the process, and waits for its end.
    pub(super) async fn stop(mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill().await;
    }

    /// How the process ended, after it closed its pipe.
    pub(super) async fn end(&mut self) -> String {
        match timeout(BURIAL, self.child.wait()).await {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => format!("ended: {error}"),
            Err(_) => "closed its pipe and kept running".to_owned(),
        }
    }
}

/// How a process ended, in words.
fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = match signal {
                libc::SIGKILL => " (SIGKILL: sent by a user, or by a system that is out of memory)",
                libc::SIGSEGV => " (SIGSEGV)",
                libc::SIGABRT => " (SIGABRT)",
                libc::SIGBUS => " (SIGBUS)",
                libc::SIGILL => " (SIGILL)",
                libc::SIGFPE => " (SIGFPE)",
                libc::SIGTERM => " (SIGTERM)",
                _ => "",
            };
            format!("was ended by signal {signal}{name}")
        }
        (None, code) => format!("exited with {}", code.unwrap_or_default()),
    }
}
