//! Drives the guest's futures under the attempt's deadline and stop signal, and measures them.
//!
//! A guest that has asked whether it is cancelled gets a grace period when it is: it ends by itself, or is
//! stopped at the end of the grace period.
//!
//! Invariant: the signal and the deadline are checked before every poll of the guest, and wake it
//! when it waits. A guest that spins yields at every epoch, so it is polled, and stops, as soon as one that
//! sleeps, without a timer that a busy thread might serve late.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use jobwright_core::outcome::{Usage, millis};
use jobwright_core::report::ProgressReporter;
use jobwright_core::runtime::{StopReason, StopSignal};

use crate::clock::Stopwatch;

/// Why a guest was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopCause {
    /// The signal was raised.
    Stopped(StopReason),
    /// The wall time limit has passed.
    Deadline,
}

type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The clock of one attempt, which starts when it is created. It is read before and after each
/// poll.
pub(super) struct Meter {
    stop: StopSignal,
    /// The reporter, which knows whether the guest polls for cancellation, and the grace period of
    /// a guest that does.
    grace: Option<(Arc<ProgressReporter>, Duration)>,
    /// When and why the guest was told to stop, as the meter noticed it.
    told: Option<(Duration, StopReason)>,
    timeout: Duration,
    since: Stopwatch,
    /// The last reading.
    now: Duration,
    cpu: Duration,
    /// When the instantiation ended or was aborted.
    instantiated: Option<Duration>,
    /// Created when the guest waits for the first time: most never do.
    alarm: Option<Alarm>,
}

impl Meter {
    /// Starts the clock.
    pub(super) fn start(stop: StopSignal, timeout: Duration) -> Self {
        let (now, cpu) = (Duration::ZERO, Duration::ZERO);
        let since = Stopwatch::start();
        let (grace, told, instantiated, alarm) = (None, None, None, None);
        Self { stop, grace, told, timeout, since, now, cpu, instantiated, alarm }
    }

    /// Sets the grace period, which a guest gets if it has polled for cancellation, as `report`
    /// knows, before it is told to stop.
    pub(super) fn with_grace(self, report: Arc<ProgressReporter>, grace: Duration) -> Self {
        Self { grace: Some((report, grace)), ..self }
    }

    /// Why the guest was told to stop, or is about to be: a guest that polls for cancellation may
    /// know before the meter does.
    pub(super) fn stopped(&self) -> Option<StopReason> {
        self.stop.noticed().filter(|_| self.grace().is_some())
    }

    /// Writes the measured times: instantiation, run, and the time of both that was spent in polls.
    pub(super) fn note(&self, usage: &mut Usage) {
        let instantiated = self.instantiated.unwrap_or_default();
        usage.instantiate_ms = millis(instantiated);
        usage.run_ms = millis(self.now.saturating_sub(instantiated));
        usage.cpu_ms = millis(self.cpu);
    }

    /// Drives the instantiation of a guest, as [`Self::drive`] does its run.
    pub(super) async fn instantiate<F: Future>(
        &mut self,
        making: F,
    ) -> Result<F::Output, StopCause> {
        let made = self.drive(making).await;
        self.instantiated = Some(self.now);
        made
    }

    /// Drives `guest` to its end or until it must stop; then it is dropped.
    pub(super) async fn drive<F: Future>(&mut self, guest: F) -> Result<F::Output, StopCause> {
        let mut guest = pin!(guest);
        std::future::poll_fn(|wake| self.poll(guest.as_mut(), wake)).await
    }

    fn poll<F: Future>(
        &mut self,
        guest: Pin<&mut F>,
        wake: &mut Context<'_>,
    ) -> Poll<Result<F::Output, StopCause>> {
        if let Some(cause) = self.stop_cause() {
            return Poll::Ready(Err(cause));
        }
        let before = self.now;
        let polled = guest.poll(wake);
        self.now = self.since.elapsed();
        self.cpu += self.now - before;
        match polled {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.wait(wake).map(Err),
        }
    }

    fn stop_cause(&mut self) -> Option<StopCause> {
        self.now = self.since.elapsed();
        if let Some(reason) = self.stop.raised() {
            let (at, first) = *self.told.get_or_insert((self.now, reason));
            let grace = self.grace().filter(|_| reason.leaves_grace());
            if grace.is_none_or(|grace| self.now >= at + grace) {
                return Some(StopCause::Stopped(first));
            }
        }
        if self.now < self.timeout {
            return None;
        }
        // A guest that was told to stop before counts as stopped, however late.
        Some(self.told.map_or(StopCause::Deadline, |(_, reason)| StopCause::Stopped(reason)))
    }

    /// The grace period of a guest that polls for cancellation.
    fn grace(&self) -> Option<Duration> {
        let (report, grace) = self.grace.as_ref()?;
        report.asks().then_some(*grace)
    }

    /// How long the guest may keep waiting.
    fn patience(&self) -> Duration {
        let graced = |at| self.timeout.min(at + self.grace().unwrap_or_default());
        let end = self.told.map_or(self.timeout, |(at, _)| graced(at));
        end.saturating_sub(self.now)
    }

    /// Ready when there is a reason to stop; otherwise the task is woken when there is one.
    fn wait(&mut self, wake: &mut Context<'_>) -> Poll<StopCause> {
        loop {
            let (stop, is_told, left) = (&self.stop, self.told.is_some(), self.patience());
            let alarm =
                self.alarm.get_or_insert_with(|| Box::pin(alarm(stop.clone(), is_told, left)));
            ready!(alarm.as_mut().poll(wake));
            self.alarm = None;
            if let Some(cause) = self.stop_cause() {
                return Poll::Ready(cause);
            }
        }
    }
}

/// The output of `wait`, unless the signal is raised first.
pub(super) async fn unless_stopped<F: Future>(
    stop: &StopSignal,
    wait: F,
) -> Result<F::Output, StopReason> {
    tokio::select! {
        biased;
        output = wait => Ok(output),
        reason = stop.wait() => Err(reason),
    }
}

/// Completes when the signal is raised, or, for a guest in its grace period, when the signal ends
/// that period; and after `left`.
async fn alarm(stop: StopSignal, is_told: bool, left: Duration) {
    let signal = async {
        match is_told {
            false => drop(stop.wait().await),
            true => stop.wait_without_grace().await,
        }
    };
    tokio::select! {
        biased;
        () = signal => {}
        () = tokio::time::sleep(left) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use jobwright_core::runtime::Stop;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_future_that_ends_in_time_is_not_stopped() {
        let (_stop, signal) = Stop::new();
        let ended = block_on(async { Meter::start(signal, HOUR).drive(async { 7 }).await });
        assert_eq!(ended, Ok(7));
    }

    #[test]
    fn a_waiting_future_is_woken_by_the_signal_and_by_the_deadline() {
        let (stop, signal) = Stop::new();
        let waiting = async {
            let mut meter = Meter::start(signal, HOUR);
            tokio::join!(meter.drive(pending::<()>()), async { stop.raise(StopReason::Cancelled) })
        };
        assert_eq!(block_on(waiting).0, Err(StopCause::Stopped(StopReason::Cancelled)));

        let (_stop, signal) = Stop::new();
        let short = Duration::from_millis(1);
        let ended = block_on(async { Meter::start(signal, short).drive(pending::<()>()).await });
        assert_eq!(ended, Err(StopCause::Deadline));
    }

    #[test]
    fn a_guest_in_its_grace_period_at_the_deadline_counts_as_stopped() {
        let (stop, signal) = Stop::new();
        let report = Arc::new(ProgressReporter::new(None, 0));
        report.ask();
        let mut meter = Meter::start(signal, Duration::from_millis(5)).with_grace(report, HOUR);
        stop.raise(StopReason::Cancelled);
        let ended = block_on(meter.drive(pending::<()>()));
        assert_eq!(ended, Err(StopCause::Stopped(StopReason::Cancelled)));
    }

    #[test]
    fn a_guest_whose_grace_period_is_ended_stops_at_once() {
        let (stop, signal) = Stop::new();
        let report = Arc::new(ProgressReporter::new(None, 0));
        report.ask();
        let waiting = async {
            let mut meter = Meter::start(signal, HOUR).with_grace(report, HOUR);
            stop.raise(StopReason::Cancelled);
            let later = async {
                tokio::task::yield_now().await;
                stop.raise(StopReason::Disabled);
            };
            tokio::join!(meter.drive(pending::<()>()), later).0
        };
        assert_eq!(block_on(waiting), Err(StopCause::Stopped(StopReason::Cancelled)));
    }

    #[test]
    fn a_future_that_never_waits_is_not_polled_again_after_a_stop() {
        let (_stop, signal) = Stop::new();
        let spin = async {
            loop {
                tokio::task::yield_now().await;
            }
        };
        let mut meter = Meter::start(signal, Duration::from_millis(1));
        let ended: Result<(), StopCause> = block_on(async { meter.drive(spin).await });
        assert_eq!(ended, Err(StopCause::Deadline));
        assert!(meter.cpu > Duration::ZERO);
    }
}
