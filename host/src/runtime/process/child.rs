//! The process of a runner: reads messages from its pipe, runs one attempt at a time, and reports how it ended.
//!
//! One thread does all of it, and another advances the epochs: an attempt that spins yields at every epoch,
//! and then the pipe is polled. Invariants: guest code runs in the sandbox only; the same code runs it as in
//! a host without isolation; the process ends when its pipe is closed.

use std::collections::HashMap;
use std::fmt::Display;
use std::os::fd::AsFd as _;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::{Ended, Stop};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::super::abi::prepared::Prepared;
use super::super::code::key::CodeKey;
use super::super::config::EngineConfig;
use super::super::engine::{Engines, Shape};
use super::super::epoch::Ticker;
use super::super::receipt::{self, HOST_PANIC};
use super::super::{attempt, signals};
use super::bounds::CALLS;
use super::message::{Assignment, FromRunner, StopMessage, ToRunner, Unloaded};
use super::pipe::{self, FRAME_BYTES, FrameReader, FrameWriter, Pipe};
use super::sandbox;
use super::through_host::{Teller, ThroughHost};
use crate::registry::compiled;

/// The environment variable that makes this program a runner.
pub(super) const RUNNER_VARIABLE: &str = "JOBWRIGHT_RUNNER";

/// How often new traces are sent to the host, which saves them every second.
const TELL: Duration = Duration::from_millis(400);

/// Messages that may wait to be written: the calls, and a few others.
const OUTBOX: usize = CALLS + 8;

/// If this process was started to run attempts: runs them, and returns the exit code.
pub(crate) fn run_if_requested() -> Option<ExitCode> {
    std::env::var_os(RUNNER_VARIABLE)?;
    let (runtime, mut runner) = match begin() {
        Ok(begun) => begun,
        Err(error) => {
            let reason = FromRunner::Ready(Err(format!("{error:#}")));
            // If the pipe is closed, the error cannot be reported.
            let _ = pipe::write_at_once(std::io::stdin(), &reason);
            return Some(ExitCode::FAILURE);
        }
    };
    // The host has closed the pipe or violated the protocol: no error can be reported.
    Some(runtime.block_on(runner.serve()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

fn begin() -> anyhow::Result<(Runtime, Child)> {
    let missing = sandbox::enter()?;
    signals::leave_to_host().context("cannot ignore signals")?;
    let pipe = std::io::stdin().as_fd().try_clone_to_owned()?;
    let pipe = std::os::unix::net::UnixStream::from(pipe);
    pipe.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // The pipe is polled whenever a guest yields.
        .event_interval(1)
        .build()?;
    let runner = runtime.block_on(async {
        let mut pipe = Pipe::new(UnixStream::from_std(pipe)?, FRAME_BYTES);
        let ToRunner::Begin(config) = pipe.reader.read().await? else { bail!("no beginning") };
        Child::new(config, missing, pipe)
    })?;
    Ok((runtime, runner))
}

/// A runner, in its own process.
struct Child {
    engines: Engines,
    ticker: Arc<Ticker>,
    codes: HashMap<CodeKey, Prepared>,
    host: mpsc::Sender<FromRunner>,
    reader: FrameReader<ToRunner>,
    calls: u64,
}

impl Child {
    /// Makes the engine, and enters the sandbox.
    fn new(
        config: EngineConfig,
        mut missing: Vec<String>,
        pipe: Pipe<FromRunner, ToRunner>,
    ) -> anyhow::Result<Self> {
        let Pipe { writer, reader } = pipe;
        let ticker = Arc::new(Ticker::start()?);
        let shape = Shape { attempts: 1, config, asks_for_pages: false };
        let engines = Engines::new(shape, ticker.clone())?;
        sandbox::bound_files(config.ceiling.memory_bytes)?;
        missing.extend(sandbox::shut().err());
        let (host, outbox) = mpsc::channel(OUTBOX);
        // A separate task, so that the pipe is read while messages wait to be written: two ends that
        // only write would deadlock.
        tokio::spawn(write_messages(writer, outbox));
        host.try_send(FromRunner::Ready(Ok(missing))).context("the host process has ended")?;
        Ok(Self { engines, ticker, codes: HashMap::new(), host, reader, calls: 0 })
    }

    /// Serves the host, until the pipe is closed.
    async fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            match self.reader.read().await? {
                ToRunner::Load(key) => {
                    let artefact = self.reader.read_raw().await?;
                    let loaded = self.load(key, &artefact);
                    self.host.send(FromRunner::Loaded(loaded)).await?;
                }
                ToRunner::Run(assignment) => self.run(*assignment).await?,
                // Sent for an attempt that had just ended.
                ToRunner::Stop(_) | ToRunner::Answer { .. } => {}
                ToRunner::Begin { .. } => bail!("another beginning"),
            }
        }
    }

    /// Loads code, and links it to the host's functions. The host itself never loads any.
    fn load(&mut self, key: CodeKey, artefact: &[u8]) -> Result<(), Unloaded> {
        let failed = |error: &dyn Display| Unloaded::Failed(shown(&format!("{error:#}")));
        let machine = self.engines.machine(key.profile).map_err(|error| failed(&error))?;
        let compiled = compiled::code(&machine.engine, artefact).map_err(|error| failed(&error))?;
        let prepared = Prepared::new(&machine, &compiled)
            .map_err(|misfit| Unloaded::Misfit(shown(&misfit.0)))?;
        self.codes.insert(key, prepared);
        Ok(())
    }

    async fn run(&mut self, assignment: Assignment) -> anyhow::Result<()> {
        let key = assignment.code;
        let (request_bytes, value_bytes) = (assignment.request_bytes, assignment.value_bytes());
        let host = self.host.clone();
        let services = Arc::new(ThroughHost::new(host, self.calls, request_bytes, value_bytes));
        let attempt = assignment.attempt(services.clone());
        let teller = Arc::new(Teller::new(attempt.log.clone(), attempt.report.clone()));
        services.tell_by(teller.clone());
        let code = self.codes.get(&key).context("there is no such code")?;
        let _watch = self.ticker.watch();
        let links = Links { services: &services, teller: &teller, host: &self.host };
        let ended = run_attempt(code, &attempt, &mut self.reader, links).await?;
        self.calls = services.next();
        let is_torn =
            matches!(&ended.outcome, Outcome::Trapped { error } if error.code == HOST_PANIC);
        let (ended, last) = (Box::new(ended), Box::new(teller.news()));
        self.host.send(FromRunner::Ended { ended, last }).await?;
        if is_torn {
            // Wait until the host has read it and closes the pipe: another runner follows.
            let _ = self.reader.read().await;
            bail!("a panic may have left anything behind");
        }
        Ok(())
    }
}

/// The part of a reason that fits into a message, because a plugin chooses how long its names are.
fn shown(reason: &str) -> String {
    const REASON_BYTES: usize = 4096;
    reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned()
}

/// Sends messages in order.
async fn write_messages(
    mut writer: FrameWriter<FromRunner>,
    mut outbox: mpsc::Receiver<FromRunner>,
) {
    while let Some(message) = outbox.recv().await {
        if writer.write(&message).await.is_err() {
            return; // The pipe is closed, and the reader finds that out too.
        }
    }
}

/// What connects an attempt to the host.
struct Links<'a> {
    services: &'a ThroughHost,
    teller: &'a Teller,
    host: &'a mpsc::Sender<FromRunner>,
}

/// Runs `attempt` to its end; meanwhile reads the pipe, and sends the attempt's log, progress and
/// checkpoints.
async fn run_attempt(
    code: &Prepared,
    attempt: &Attempt,
    reader: &mut FrameReader<ToRunner>,
    Links { services, teller, host }: Links<'_>,
) -> anyhow::Result<Ended> {
    let (stop, signal) = Stop::new();
    let running = AssertUnwindSafe(attempt::run(code, attempt, signal)).catch_unwind();
    let mut running = pin!(yielding(running));
    let mut asks = pin!(attempt.report.asked().fuse());
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TELL, TELL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The pipe first: a guest that is always ready must not starve it.
            biased;
            message = reader.read() => match message? {
                ToRunner::Stop(StopMessage::Notice) => stop.notice(),
                ToRunner::Stop(StopMessage::Raised(reason)) => stop.raise(reason),
                ToRunner::Answer { call, answer } => services.answered(call, *answer),
                _ => bail!("a message that has to wait for the attempt's end"),
            },
            // Before other messages, because it must arrive in time.
            () = &mut asks => host.send(FromRunner::Asks).await?,
            ended = &mut running => {
                return Ok(ended.unwrap_or_else(|panic| {
                    receipt::without_usage(receipt::panicked(panic.as_ref()))
                }));
            }
            _ = ticks.tick() => tell(teller, host),
        }
    }
}

/// Sends new traces to the host, if there are any and the outbox has room.
fn tell(teller: &Teller, host: &mpsc::Sender<FromRunner>) {
    // Only when nothing waits to be written: so there is never more than one message of traces waiting.
    if let Ok(way) = host.try_reserve()
        && host.capacity() >= OUTBOX - 1
    {
        let news = teller.news();
        if !news.is_empty() {
            way.send(FromRunner::Traces(Box::new(news)));
        }
    }
}

/// `guest`, which also lets other processes run whenever it yields: where there are more runners
/// than processors, each gets a time slice soon, and soon reads the message that stops it.
async fn yielding<F: Future>(guest: F) -> F::Output {
    let mut guest = pin!(guest);
    std::future::poll_fn(move |wake| {
        let polled = Pin::as_mut(&mut guest).poll(wake);
        if matches!(polled, Poll::Pending) {
            std::thread::yield_now();
        }
        polled
    })
    .await
}
