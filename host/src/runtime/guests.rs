//! The threads that guests run on: a tokio runtime of their own, so that guests do not delay the
//! rest of the host.

use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// Threads for blocking work: reading and compiling plugins, which are bounded elsewhere. Guests use none,
/// because they have no files.
const BLOCKING_THREADS: usize = 16;

/// The threads. Dropping this stops every guest when it next yields, without waiting for it.
#[derive(Debug)]
pub(super) struct Guests(Option<Runtime>, Handle);

impl Guests {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the system cannot start them.
    pub(super) fn start(threads: usize) -> anyhow::Result<Self> {
        // No I/O driver: guests wait for time only.
        Self::built(&mut Builder::new_multi_thread(), threads)
    }

    /// Starts `threads` threads that also wait for pipes and processes, for guests in other processes.
    ///
    /// # Errors
    /// If the system cannot start them.
    #[cfg(target_os = "linux")]
    pub(super) fn start_with_files(threads: usize) -> anyhow::Result<Self> {
        Self::built(Builder::new_multi_thread().enable_io(), threads)
    }

    fn built(builder: &mut Builder, threads: usize) -> anyhow::Result<Self> {
        let runtime = builder
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("guest")
            .enable_time()
            .build()
            .with_context(|| format!("cannot start {threads} threads for guests"))?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    /// Starts other tasks on these threads.
    pub(super) fn handle(&self) -> &Handle {
        &self.1
    }

    /// Runs `guest` on these threads. Dropping the returned future stops it.
    pub(super) fn run<F>(&self, guest: F) -> Running<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        Running(self.1.spawn(guest))
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting would block, which is a panic when the host itself is dropped in async code.
            runtime.shutdown_background();
        }
    }
}

/// A guest that is running.
#[derive(Debug)]
pub(super) struct Running<T>(JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, wake: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(wake)
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn a_panic_ends_only_the_guest_that_panicked() {
        let guests = Guests::start(1).expect("threads");
        let broken = block_on(guests.run(async { panic!("on purpose") }));
        assert!(broken.is_err_and(|error: JoinError| error.is_panic()));
        assert_eq!(block_on(guests.run(async { 7 })).expect("it runs"), 7);
    }

    #[test]
    fn dropping_the_awaited_future_stops_the_guest() {
        let guests = Guests::start(1).expect("threads");
        let (alive, gone) = oneshot::channel::<()>();
        let guest = guests.run(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(guest);
        assert!(block_on(gone).is_err());
    }

    #[test]
    fn the_threads_may_be_dropped_in_async_code() {
        block_on(async { drop(Guests::start(1).expect("threads")) });
    }
}
