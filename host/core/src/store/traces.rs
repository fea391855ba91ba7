//! The trait that keeps what attempts leave while they run.

use async_trait::async_trait;

use super::error::StoreError;
use crate::attempt::Lease;
use crate::job::JobId;
use crate::log::LogSnapshot;
use crate::report::ProgressUpdate;

/// What keeps what attempts leave while they run.
#[async_trait]
pub trait AttemptTraces: Send + Sync + 'static {
    /// Keeps the log of an attempt as it is now, in place of what was kept before. May lose the
    /// latest second when the machine loses power.
    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError>;

    /// Keeps what the attempt that holds the lease reported, in place of what was kept before, and forgives
    /// the job its lost attempts; does nothing if the lease was taken away.
    async fn save_progress(&self, lease: Lease, told: ProgressUpdate) -> Result<(), StoreError>;
}
