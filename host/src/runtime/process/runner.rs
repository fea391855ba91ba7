//! A runner from without: its process, and what is said to it during one attempt.
//!
//! Invariants: a runner has one attempt at a time; whatever it says, or if it says nothing any more,
//! its attempt ends at its stop, or soon after its deadline, and no other is touched; dropping it
//! kills the process.

use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::FutureExt as _;
use jobwright_core::attempt::Attempt;
use jobwright_core::job::JobSpec;
use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::{AttemptError, Outcome, millis};
use jobwright_core::plugin::{Digest, PluginName};
use jobwright_core::runtime::{Ended, StopReason, StopSignal};
use jobwright_core::tenant::TenantName;
use rustix::process::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::super::code::key::CodeKey;
use super::super::config::EngineConfig;
use super::super::ending;
use super::super::profile::Profile;
use super::super::receipt::{self, HOST_PANIC, PROCESS_DIED};
use super::calls::Calls;
use super::inside::ASKED;
use super::memory;
use super::message::{
    self, Asked, Assignment, FromRunner, Longest, StopMessage, ToRunner, Unloaded,
};
use super::outside::{CALLS, RESPONSES};
use super::pipe::Pipe;
use crate::clock::Stopwatch;

/// What the process is called in a list of processes.
const TITLE: &str = "run-attempts";

/// How long a process may take to get ready: a thousand times what it takes.
const START: Duration = Duration::from_secs(20);

/// How long it may take to load code: the largest plugins take a second on a busy machine.
const LOAD: Duration = Duration::from_secs(20);

/// How much later than its guest should have ended a runner may say so.
const LATE: Duration = Duration::from_secs(1);

/// How long one may go on whose guest was told to stop, and never asked whether it is: three times what
/// it takes where there are processors for all. Beside many that compute it may not have its turn until
/// much later, and then it is killed: who cancels a job does not wait for a receipt.
const PROMPT: Duration = Duration::from_millis(30);

/// The same for one that was switched off, with all of its kind: they wait for turns beside each other.
const AT_ONCE: Duration = Duration::from_millis(10);

/// How long the end of a process is waited for that has closed its pipe.
const BURIAL: Duration = Duration::from_secs(1);

/// Messages that a runner sends without an attempt are this long at most.
const SHORT_BYTES: usize = 64 << 10;

/// The process and the pipe to it.
pub(super) struct Runner {
    child: Child,
    pipe: Pipe<ToRunner, FromRunner>,
    /// The code that it has: of one digest, in one or both profiles.
    loaded: Vec<CodeKey>,
    /// Whose attempts it runs: what one of them leaves behind in the process reaches no others.
    pub(super) owner: Option<Owner>,
    /// What it could write to when it was ready, in bytes, if the system shows it.
    footprint: Option<u64>,
    /// How much code it has, in bytes.
    code_bytes: u64,
    /// Since when it has had nothing to do.
    pub(super) idle: Stopwatch,
}

/// Whose attempts share a process. Those of other plugins of the same tenant do not: their payloads,
/// outputs and grants are none of this plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    tenant: TenantName,
    plugin: PluginName,
    digest: Digest,
}

impl Owner {
    /// The one of `attempt`.
    pub(super) fn of(attempt: &Attempt) -> Self {
        let JobSpec { tenant, plugin, digest, .. } = &attempt.job.spec;
        Self { tenant: tenant.clone(), plugin: plugin.clone(), digest: *digest }
    }
}

/// Why a runner did not say how its attempt ended.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its pipe broke: it has ended.
    Ended,
    /// It said what cannot be.
    Nonsense(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Nonsense(error.to_string()),
            _ => Self::Ended,
        }
    }
}

impl Runner {
    /// Starts a process, which is ready when this is; with what its sandbox lacks.
    ///
    /// # Errors
    /// If it cannot be started, or this program is none that runs attempts when it is asked to.
    pub(super) async fn start(config: EngineConfig) -> anyhow::Result<(Self, Vec<String>)> {
        let (ours, its) = UnixStream::pair()?;
        let its = its.into_std()?;
        its.set_nonblocking(false)?;
        // Not the program's path: the file may be replaced while the host runs.
        let child = Command::new("/proc/self/exe")
            .arg(TITLE)
            .env_clear()
            .env(ASKED, "1")
            .current_dir("/")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a process that runs attempts")?;
        let (loaded, idle) = (vec![], Stopwatch::start());
        let pipe = Pipe::new(ours, SHORT_BYTES);
        let (footprint, code_bytes) = (None, 0);
        let mut runner = Self { child, pipe, loaded, owner: None, footprint, code_bytes, idle };
        let ready = async {
            runner.pipe.writer.write(&ToRunner::Begin(config)).await?;
            runner.pipe.reader.read().await
        };
        match timeout(START, ready).await {
            Ok(Ok(FromRunner::Ready(Ok(mut missing)))) => {
                runner.footprint = runner.process().and_then(memory::footprint);
                missing.extend(runner.bound(0).err().map(|why| format!("memory bound ({why})")));
                Ok((runner, missing))
            }
            Ok(Ok(FromRunner::Ready(Err(why)))) => {
                bail!("a process that runs attempts cannot begin: {why}")
            }
            Ok(Ok(_)) => bail!("a process that runs attempts began with something else"),
            Ok(Err(_)) => {
                let end = runner.end().await;
                bail!("a process that runs attempts did not get ready: it {end}")
            }
            Err(_) => bail!("a process that runs attempts was not ready within {START:?}"),
        }
    }

    /// Whether it has this code.
    pub(super) fn has(&self, key: CodeKey) -> bool {
        self.loaded.contains(&key)
    }

    /// Whether it has not ended, and has nothing to say but what its last attempt gave up at its end.
    pub(super) fn lives(&mut self) -> bool {
        self.pipe.reader.set_longest(SHORT_BYTES);
        let said = self.answer().now_or_never();
        said.is_none() && matches!(self.child.try_wait(), Ok(None))
    }

    /// The next that it says, without what its last attempt gave up at its end: no more than it had.
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

    /// Bounds what it takes of memory: what it took when it was ready, again for a second engine, its
    /// code, and `more` bytes.
    ///
    /// # Errors
    /// With the reason; then it is not bounded.
    fn bound(&self, more: u64) -> Result<(), String> {
        let footprint = self.footprint.ok_or("its size is not shown in /proc")?;
        let process = self.process().ok_or("it has ended")?;
        let has_second = self.loaded.iter().any(|key| key.profile == Profile::Epochs);
        let engines = footprint.saturating_mul(1 + u64::from(has_second));
        let parts = [engines, memory::of_code(self.code_bytes), more];
        let most = parts.into_iter().fold(0, u64::saturating_add);
        memory::bound(process, most).map_err(|error| error.to_string())
    }

    /// Gives it code that it does not have.
    ///
    /// # Errors
    /// With the reason, and it is of no use any more.
    pub(super) async fn load(&mut self, key: CodeKey, artefact: Bytes) -> Result<(), Unloaded> {
        if self.has(key) {
            return Ok(());
        }
        self.loaded.push(key);
        self.code_bytes = self.code_bytes.saturating_add(artefact.len() as u64);
        // That it cannot be bounded here was said at the start.
        let _ = self.bound(0);
        let loading = async {
            self.pipe.writer.write(&ToRunner::Load(key)).await?;
            self.pipe.writer.write_raw(artefact).await?;
            self.pipe.reader.set_longest(SHORT_BYTES);
            self.answer().await
        };
        Err(Unloaded::Failed(match timeout(LOAD, loading).await {
            Ok(Ok(FromRunner::Loaded(loaded))) => return loaded,
            Ok(Ok(_)) => "it answered something else".to_owned(),
            Ok(Err(_)) => format!("its process {}", self.end().await),
            Err(_) => format!("it took more than {LOAD:?}"),
        }))
    }

    /// Ends it, and waits until it has.
    pub(super) async fn stop(mut self) {
        // One that has ended by itself is what is wanted too.
        let _ = self.child.kill().await;
    }

    /// Runs `attempt`, whose code it has. Answers how it ended, and whether the runner can go on.
    pub(super) async fn run(&mut self, attempt: &Attempt, stop: StopSignal) -> (Ended, bool) {
        let patience = patience(attempt, stop.clone());
        let (told, watch) = (stop.clone(), Stopwatch::start());
        let outcome = tokio::select! {
            biased;
            ended = self.attend(attempt, stop) => match ended {
                Ok(ended) => {
                    let is_torn = ended.outcome.error().is_some_and(|e| e.code == HOST_PANIC);
                    return (ended, !is_torn);
                }
                // What it was told to do, it has done.
                Err(_) if told.raised().is_some() => told.raised().map(ending::stopped),
                Err(Broken::Ended) => Some(died(&self.end().await)),
                Err(Broken::Nonsense(what)) => {
                    tracing::warn!(job = %attempt.job.id, what, "a process that runs attempts was \
                        killed: it said what it cannot say, as if a guest had broken out");
                    Some(died(&format!("was killed, because it broke the rules: {what}")))
                }
            },
            () = patience => told.raised().map(ending::stopped),
        };
        let mut ended = receipt::without_usage(outcome.unwrap_or_else(|| late(&attempt.limits)));
        ended.usage.run_ms = millis(watch.elapsed());
        (ended, false)
    }

    async fn attend(&mut self, attempt: &Attempt, mut stop: StopSignal) -> Result<Ended, Broken> {
        let _ = self.bound(memory::of_attempt(attempt));
        let (longest, watch) = (Longest::of(attempt), Stopwatch::start());
        let Pipe { writer, reader } = &mut self.pipe;
        reader.set_longest(longest.of_any());
        writer.write(&ToRunner::Run(Box::new(Assignment::new(attempt)))).await?;
        let (mut calls, mut said) = (Calls::new(attempt), None);
        loop {
            tokio::select! {
                biased;
                message = reader.read_if(|frame| longest.check(frame)) => match message? {
                    FromRunner::Ended { ended, last } => {
                        last.add_to(attempt);
                        let asked = Asked {
                            limits: &attempt.limits,
                            stop: accepted(attempt, &stop),
                            elapsed: watch.elapsed(),
                        };
                        return message::believed(*ended, asked)
                            .map_err(|what| Broken::Nonsense(what.to_owned()));
                    }
                    FromRunner::Asks => attempt.report.ask(),
                    FromRunner::Traces(traces) => traces.add_to(attempt),
                    FromRunner::Call { call, host_call, before } => {
                        before.add_to(attempt);
                        calls.start(call, *host_call).map_err(Broken::Nonsense)?;
                    }
                    FromRunner::Dropped { call } => calls.drop(call),
                    FromRunner::Ready(_) | FromRunner::Loaded(_) => {
                        return Err(Broken::Nonsense("an answer to no request".to_owned()));
                    }
                },
                stop_message = news(&mut stop, said) => {
                    said = Some(stop_message);
                    writer.write(&ToRunner::Stop(stop_message)).await?;
                }
                (call, answer) = calls.next() => {
                    writer.write(&ToRunner::Answer { call, answer: Box::new(answer) }).await?;
                }
            }
        }
    }

    /// How the process ended, which has closed its pipe.
    async fn end(&mut self) -> String {
        match timeout(BURIAL, self.child.wait()).await {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => format!("ended: {error}"),
            Err(_) => "closed its pipe and went on".to_owned(),
        }
    }
}

/// The reason for which the attempt may end as stopped. A notice is one too for a guest that has asked:
/// it may end on its own before the stop.
fn accepted(attempt: &Attempt, stop: &StopSignal) -> Option<StopReason> {
    stop.raised().or_else(|| stop.noticed().filter(|_| attempt.report.asks()))
}

/// What the attempt is to be told beyond what was said.
async fn news(stop: &mut StopSignal, said: Option<StopMessage>) -> StopMessage {
    loop {
        let stop_message = match (stop.raised(), stop.noticed()) {
            (Some(reason), _) => Some(StopMessage::Raised(reason)),
            (None, Some(_)) => Some(StopMessage::Notice),
            (None, None) => None,
        };
        match (said, stop_message) {
            // There is nothing to say after that.
            (Some(StopMessage::Raised(reason)), _) if !reason.leaves_grace() => pending().await,
            (said, Some(stop_message)) if said != Some(stop_message) => return stop_message,
            _ => stop.changed().await,
        }
    }
}

/// Ends when an attempt should have ended, and a little more: at its deadline, or after it was told
/// to stop.
async fn patience(attempt: &Attempt, mut stop: StopSignal) {
    let grace = Duration::from_millis(attempt.limits.grace_ms) + LATE;
    let mut off = stop.clone();
    let switched_off = async {
        off.wait_without_grace().await;
        tokio::time::sleep(AT_ONCE).await;
    };
    let told = async {
        stop.wait().await;
        tokio::time::sleep(PROMPT).await;
        if attempt.report.asks() {
            tokio::time::sleep(grace).await;
        }
    };
    let late = tokio::time::sleep(attempt.limits.timeout() + grace);
    tokio::select! {
        () = switched_off => {}
        () = told => {}
        () = late => {}
    }
}

fn late(limits: &Limits) -> Outcome {
    let message = format!(
        "time limit {} ms exceeded; its process did not answer and was killed",
        limits.timeout_ms
    );
    Outcome::exceeded(Limit::Time, message)
}

/// The attempt's process ended before the attempt did: like a trap, it may go better another time.
pub(super) fn died(how: &str) -> Outcome {
    let message = format!("the process that ran the attempt {how}");
    Outcome::Trapped { error: AttemptError::new(PROCESS_DIED, message) }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = match signal {
                libc::SIGKILL => " (SIGKILL: by someone, or by a system that is out of memory)",
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
