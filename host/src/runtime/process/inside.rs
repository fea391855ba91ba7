//! A runner from within: takes orders from its pipe, runs one attempt at a time, and says how it ended.
//!
//! One thread does all of it, and another advances the epochs: an attempt that spins gives way now and
//! then, and then the pipe is looked at. Invariants: guest code runs in the sandbox only; the same
//! code runs it as in a host without isolation; the process ends with its pipe.

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
use super::message::{Assignment, FromRunner, StopMessage, ToRunner, Unloaded};
use super::outside::{CALLS, Teller, ThroughHost};
use super::pipe::{self, FRAME_BYTES, FrameReader, FrameWriter, Pipe};
use super::sandbox;
use crate::registry::compiled;

/// Says to a process that it is a runner.
pub(super) const ASKED: &str = "JOBWRIGHT_RUNNER";

/// How often the host is told what the attempt has left: it saves that every second.
const TELL: Duration = Duration::from_millis(400);

/// Messages that wait for their turn: a call for each place, and the few others.
const OUTBOX: usize = CALLS + 8;

/// If this process was started to run attempts: does that, and answers how it went.
pub(crate) fn run_if_requested() -> Option<ExitCode> {
    std::env::var_os(ASKED)?;
    let (runtime, mut runner) = match begin() {
        Ok(begun) => begun,
        Err(error) => {
            let reason = FromRunner::Ready(Err(format!("{error:#}")));
            // Who has closed the pipe is not to be told.
            let _ = pipe::write_at_once(std::io::stdin(), &reason);
            return Some(ExitCode::FAILURE);
        }
    };
    // Whoever started it has closed the pipe, or has said what is none of its business to say: nobody
    // is left who could be told.
    Some(runtime.block_on(runner.obey()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

fn begin() -> anyhow::Result<(Runtime, Inside)> {
    let missing = sandbox::enter()?;
    signals::leave_to_host().context("cannot leave signals to the host")?;
    let pipe = std::io::stdin().as_fd().try_clone_to_owned()?;
    let pipe = std::os::unix::net::UnixStream::from(pipe);
    pipe.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // The pipe is looked at whenever a guest gives way.
        .event_interval(1)
        .build()?;
    let runner = runtime.block_on(async {
        let pipe = Pipe::new(UnixStream::from_std(pipe)?, FRAME_BYTES);
        let Pipe { writer, mut reader } = pipe;
        let ToRunner::Begin(config) = reader.read().await? else { bail!("no beginning") };
        Inside::new(config, missing, (writer, reader))
    })?;
    Ok((runtime, runner))
}

/// The runner.
struct Inside {
    engines: Engines,
    ticker: Arc<Ticker>,
    codes: HashMap<CodeKey, Prepared>,
    host: mpsc::Sender<FromRunner>,
    reader: FrameReader<ToRunner>,
    calls: u64,
}

impl Inside {
    /// Makes the engine, and shuts the process in.
    fn new(
        config: EngineConfig,
        mut missing: Vec<String>,
        (writer, reader): (FrameWriter<FromRunner>, FrameReader<ToRunner>),
    ) -> anyhow::Result<Self> {
        let ticker = Arc::new(Ticker::start()?);
        let shape = Shape { attempts: 1, config, asks_for_pages: false };
        let engines = Engines::new(shape, ticker.clone())?;
        sandbox::bound_files(config.ceiling.memory_bytes)?;
        missing.extend(sandbox::shut().err());
        let (host, outbox) = mpsc::channel(OUTBOX);
        // A task of its own, so that the pipe is read whatever waits to be written: two ends that
        // only write would wait for each other.
        tokio::spawn(speak(writer, outbox));
        host.try_send(FromRunner::Ready(Ok(missing))).context("the host is gone")?;
        Ok(Self { engines, ticker, codes: HashMap::new(), host, reader, calls: 0 })
    }

    /// Does what it is told, until the pipe is closed.
    async fn obey(&mut self) -> anyhow::Result<()> {
        loop {
            match self.reader.read().await? {
                ToRunner::Load(key) => {
                    let artefact = self.reader.read_raw().await?;
                    let loaded = self.load(key, &artefact);
                    self.host.send(FromRunner::Loaded(loaded)).await?;
                }
                ToRunner::Run(assignment) => self.run(*assignment).await?,
                // Came when the attempt that it is for had just ended.
                ToRunner::Stop(_) | ToRunner::Answer { .. } => {}
                ToRunner::Begin { .. } => bail!("another beginning"),
            }
        }
    }

    /// Links code to the host's functions. This is the first time that it is more than bytes: the
    /// host itself never loads any.
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
        let lengths = (assignment.request_bytes, assignment.value_bytes());
        let outside = Arc::new(ThroughHost::new(self.host.clone(), self.calls, lengths));
        let attempt = assignment.attempt(outside.clone());
        let teller = Arc::new(Teller::new(attempt.log.clone(), attempt.report.clone()));
        outside.tell_by(teller.clone());
        let code = self.codes.get(&key).context("there is no such code")?;
        let _watch = self.ticker.watch();
        let ended =
            attend(code, &attempt, &mut self.reader, (&outside, &teller, &self.host)).await?;
        self.calls = outside.next();
        let is_torn =
            matches!(&ended.outcome, Outcome::Trapped { error } if error.code == HOST_PANIC);
        let (ended, last) = (Box::new(ended), Box::new(teller.news()));
        self.host.send(FromRunner::Ended { ended, last }).await?;
        if is_torn {
            // Read on until the host has heard of it and closes the pipe: another runner follows.
            let _ = self.reader.read().await;
            bail!("a panic may have left anything behind");
        }
        Ok(())
    }
}

/// What fits into a message: a plugin chooses how long its names are.
fn shown(reason: &str) -> String {
    const REASON_BYTES: usize = 4096;
    reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned()
}

/// Says what is to be said, in turn.
async fn speak(mut writer: FrameWriter<FromRunner>, mut outbox: mpsc::Receiver<FromRunner>) {
    while let Some(message) = outbox.recv().await {
        if writer.write(&message).await.is_err() {
            return; // The pipe is closed, which who reads from it sees too.
        }
    }
}

/// Runs `attempt` to its end, while the pipe is listened to and what the attempt leaves is told.
async fn attend(
    code: &Prepared,
    attempt: &Attempt,
    reader: &mut FrameReader<ToRunner>,
    (outside, teller, host): (&ThroughHost, &Teller, &mpsc::Sender<FromRunner>),
) -> anyhow::Result<Ended> {
    let (stop, signal) = Stop::new();
    let running = AssertUnwindSafe(attempt::run(code, attempt, signal)).catch_unwind();
    let mut running = pin!(giving_way(running));
    let mut asks = pin!(attempt.report.asked().fuse());
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TELL, TELL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The pipe first: a guest that always has something to do must not be all there is.
            biased;
            message = reader.read() => match message? {
                ToRunner::Stop(StopMessage::Notice) => stop.notice(),
                ToRunner::Stop(StopMessage::Raised(reason)) => stop.raise(reason),
                ToRunner::Answer { call, answer } => outside.answered(call, *answer),
                _ => bail!("a message that has to wait for the attempt's end"),
            },
            // Before anything else that it says: it is of use only in time.
            () = &mut asks => host.send(FromRunner::Asks).await?,
            ended = &mut running => {
                return Ok(ended.unwrap_or_else(|panic| receipt::without_usage(receipt::panicked(panic.as_ref()))));
            }
            _ = ticks.tick() => tell(teller, host),
        }
    }
}

/// Tells the host what is new, if there is something, and room for it.
fn tell(teller: &Teller, host: &mpsc::Sender<FromRunner>) {
    // What waits to be written is not added to: so there is never more of it than one of each.
    if let Ok(way) = host.try_reserve()
        && host.capacity() >= OUTBOX - 1
    {
        let news = teller.news();
        if !news.is_empty() {
            way.send(FromRunner::Traces(Box::new(news)));
        }
    }
}

/// `guest`, which lets other processes run whenever it gives way: where there are more runners than
/// processors, each has its turn soon, and hears soon that it is to stop.
async fn giving_way<F: Future>(guest: F) -> F::Output {
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
