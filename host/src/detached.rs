//! Work that continues when its client disconnects. Drivers complete a command even if its caller
//! is dropped, so permits and locks of the work must be held until the work has ended.

use tokio::task::JoinError;

/// Runs `work` to its end on a task of its own, even if the caller is dropped. Drops `held` when
/// the work has ended.
///
/// # Errors
/// If the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let task = tokio::spawn(async move {
        let answer = work.await;
        drop(held);
        answer
    });
    task.await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    #[tokio::test]
    async fn held_values_are_dropped_when_the_work_has_ended() {
        let turns = Arc::new(Semaphore::new(1));
        let turn = turns.clone().try_acquire_owned().expect("it is free");
        let (end, ended) = oneshot::channel::<()>();
        let mut waiting = Box::pin(run(turn, ended));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        assert_eq!(turns.available_permits(), 0, "the work goes on");
        end.send(()).expect("it waits");
        turns.acquire().await.expect("it was given back").forget();
    }
}
