//! Work that goes on when its client goes away. The driver under it does what it was asked to do in any
//! case, so whatever bounds or guards the work must be held for as long.

use super::error::ApiError;

/// Runs `work` to its end on a task of its own, also if nobody waits for it any more. `held` is dropped
/// then, and not before.
///
/// # Errors
/// If the work panicked.
pub(super) async fn run<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    let task = tokio::spawn(async move {
        let answer = work.await;
        drop(held);
        answer
    });
    task.await.map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_given_back_at_the_end_of_the_work_whoever_waits() {
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
