//! One attempt in a runner, as the host sees it.
//!
//! Invariant: even if the runner sends invalid messages or none, its attempt ends when it is
//! stopped, or soon after its deadline.

use std::future::pending;
use std::io;
use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::{AttemptError, Outcome, millis};
use jobwright_core::runtime::{Ended, StopReason, StopSignal};

use super::super::ending;
use super::super::receipt::{self, HOST_PANIC, PROCESS_DIED};
use super::calls::Calls;
use super::memory;
use super::message::{self, Asked, Assignment, FromRunner, Longest, StopMessage, ToRunner};
use super::pipe::Pipe;
use super::runner::Runner;
use crate::clock::Stopwatch;

/// How long after its guest should have ended a runner may take to report it.
const LATE: Duration = Duration::from_secs(1);

/// How long a runner may take to end whose guest was told to stop and has never asked whether it is: three
/// times what it takes on a machine that is not busy. On a busy one it may not be scheduled until much later,
/// and is killed: a client that cancels a job does not wait for a receipt.
const PROMPT: Duration = Duration::from_millis(30);

/// The same for a plugin that was disabled: all its attempts end at once, and compete for the processors.
const AT_ONCE: Duration = Duration::from_millis(10);

/// Why a runner did not report how its attempt ended.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its pipe is closed: it has ended.
    Ended,
    /// It sent a message that violates the protocol.
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

/// How an attempt ended.
pub(super) struct Ran {
    pub(super) ended: Ended,
    /// Whether the runner can run another attempt.
    pub(super) can_continue: bool,
}

/// An attempt that is running.
struct Attending<'a> {
    attempt: &'a Attempt,
    longest: Longest,
    watch: Stopwatch,
    calls: Calls,
}

impl Runner {
    /// Runs `attempt`, whose code it has.
    pub(super) async fn run(&mut self, attempt: &Attempt, stop: StopSignal) -> Ran {
        let patience = patience(attempt, stop.clone());
        let (told, watch) = (stop.clone(), Stopwatch::start());
        let outcome = tokio::select! {
            biased;
            ended = self.follow(attempt, stop) => match ended {
                Ok(ended) => {
                    let is_torn = ended.outcome.error().is_some_and(|e| e.code == HOST_PANIC);
                    return Ran { ended, can_continue: !is_torn };
                }
                // The runner was told to stop, so its end is that of the attempt.
                Err(_) if told.raised().is_some() => told.raised().map(ending::stopped),
                Err(Broken::Ended) => Some(died(&self.end().await)),
                Err(Broken::Nonsense(what)) => {
                    tracing::warn!(job = %attempt.job.id, what, "killed an attempt process: it violated the protocol");
                    Some(died(&format!("was killed: it violated the protocol: {what}")))
                }
            },
            () = patience => told.raised().map(ending::stopped),
        };
        let outcome = outcome.unwrap_or_else(|| late(&attempt.limits));
        let mut ended = receipt::without_usage(outcome);
        ended.usage.run_ms = millis(watch.elapsed());
        Ran { ended, can_continue: false }
    }

    async fn follow(&mut self, attempt: &Attempt, mut stop: StopSignal) -> Result<Ended, Broken> {
        // The operator was warned at start if the process cannot be bounded on this machine.
        let _ = self.bound(memory::of_attempt(attempt));
        let mut attending = Attending::new(attempt);
        let longest = attending.longest;
        let Pipe { writer, reader } = &mut self.pipe;
        reader.set_longest(longest.of_any());
        writer.write(&ToRunner::Run(Box::new(Assignment::new(attempt)))).await?;
        let mut sent = None;
        loop {
            tokio::select! {
                biased;
                message = reader.read_if(|frame| longest.check(frame)) => {
                    if let Some(ended) = attending.handle(message?, &stop)? {
                        return Ok(ended);
                    }
                }
                message = stop_message(&mut stop, sent) => {
                    sent = Some(message);
                    writer.write(&ToRunner::Stop(message)).await?;
                }
                (call, answer) = attending.calls.next() => {
                    writer.write(&ToRunner::Answer { call, answer: Box::new(answer) }).await?;
                }
            }
        }
    }
}

impl<'a> Attending<'a> {
    fn new(attempt: &'a Attempt) -> Self {
        let (longest, watch) = (Longest::of(attempt), Stopwatch::start());
        Self { attempt, longest, watch, calls: Calls::new(attempt) }
    }

    /// Handles a message; returns the end of the attempt if the message reports it.
    fn handle(&mut self, message: FromRunner, stop: &StopSignal) -> Result<Option<Ended>, Broken> {
        let attempt = self.attempt;
        match message {
            FromRunner::Ended { ended, last } => {
                last.add_to(attempt);
                return self.believed(*ended, stop).map(Some);
            }
            FromRunner::Asks => attempt.report.ask(),
            FromRunner::Traces(traces) => traces.add_to(attempt),
            FromRunner::Call { call, host_call, before } => {
                before.add_to(attempt);
                self.calls.start(call, *host_call).map_err(Broken::Nonsense)?;
            }
            FromRunner::Dropped { call } => self.calls.drop(call),
            FromRunner::Ready(_) | FromRunner::Loaded(_) => {
                return Err(Broken::Nonsense("a reply to no request".to_owned()));
            }
        }
        Ok(None)
    }

    fn believed(&self, ended: Ended, stop: &StopSignal) -> Result<Ended, Broken> {
        let asked = Asked {
            limits: &self.attempt.limits,
            stop: accepted(self.attempt, stop),
            elapsed: self.watch.elapsed(),
        };
        message::believed(ended, asked).map_err(|what| Broken::Nonsense(what.to_owned()))
    }
}

/// The reason for which the attempt may end as stopped. For a guest that has asked, a notice is a reason too:
/// it may end by itself before the stop.
fn accepted(attempt: &Attempt, stop: &StopSignal) -> Option<StopReason> {
    stop.raised().or_else(|| stop.noticed().filter(|_| attempt.report.asks()))
}

/// The next stop message to the attempt, after `sent`.
async fn stop_message(stop: &mut StopSignal, sent: Option<StopMessage>) -> StopMessage {
    loop {
        let next = match (stop.raised(), stop.noticed()) {
            (Some(reason), _) => Some(StopMessage::Raised(reason)),
            (None, Some(_)) => Some(StopMessage::Notice),
            (None, None) => None,
        };
        match (sent, next) {
            // The last message that an attempt is sent.
            (Some(StopMessage::Raised(reason)), _) if !reason.leaves_grace() => pending().await,
            (sent, Some(next)) if sent != Some(next) => return next,
            _ => stop.changed().await,
        }
    }
}

/// Completes a little later than the attempt should have ended: after its deadline, or after it was told to
/// stop.
async fn patience(attempt: &Attempt, stop: StopSignal) {
    let grace = Duration::from_millis(attempt.limits.grace_ms) + LATE;
    let off = stop.clone();
    let disabled = async {
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
        () = disabled => {}
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

/// The attempt's process ended before the attempt did. Like a trap, the attempt is retried.
pub(super) fn died(how: &str) -> Outcome {
    let message = format!("the process that ran the attempt {how}");
    Outcome::Trapped { error: AttemptError::new(PROCESS_DIED, message) }
}
