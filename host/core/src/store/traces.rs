//! The trait that keeps what attempts leave while they run.

use async_trait::async_trait;

use super::error::StoreError;
use crate::attempt::Lease;
use crate::job::JobId;
use crate::log::LogSnapshot;
use crate::report::ProgressUpdate;

/// Stores the log, progress and checkpoint of running attempts.
#[async_trait]
pub trait AttemptTraces: Send + Sync + 'static {
    /// Stores the log of an attempt, in place of an earlier one. May lose the latest second when
    /// the machine loses power.
    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError>;

    /// Stores the progress and the checkpoint of the attempt that holds the lease, in place of
    /// earlier ones, and resets the count of the job's losses. Does nothing if the lease was lost.
    async fn save_progress(&self, lease: Lease, told: ProgressUpdate) -> Result<(), StoreError>;
}
