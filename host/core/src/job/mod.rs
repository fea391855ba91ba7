//! Jobs.
//!
//! | module | owns |
//! |---|---|
//! | [`id`] | the identity of a job, ordered by time |
//! | [`spec`], [`priority`], [`payload`] | what the submitter asked for, fixed at enqueue |
//! | [`draft`], [`dedup`] | a job to be enqueued, and what makes it unique |
//! | [`state`], [`lifecycle`], [`verdict`] | the states and every transition between them |
//! | [`time_bounds`] | the time to live and the deadline |
//! | [`row`], [`record`] | a job as a store keeps it, with the records of its attempts |

pub mod dedup;
pub mod draft;
pub mod id;
pub mod lifecycle;
pub mod payload;
pub mod priority;
pub mod record;
pub mod row;
pub mod spec;
pub mod state;
pub mod time_bounds;
pub mod verdict;

pub use self::dedup::{Dedup, DedupScope, UsedKey};
pub use self::draft::NewJob;
pub use self::id::{InvalidJobId, JobId, JobIdPrefix};
pub use self::lifecycle::{CancelRequest, Lifecycle, LostHost, MAX_LOST, Redrive, WATCH};
pub use self::payload::{OutputInfo, Payload};
pub use self::priority::{InvalidPriority, Priority};
pub use self::record::{AttemptRecord, Seed, Start};
pub use self::row::{AttemptCounts, Job, MAX_RECORDS};
pub use self::spec::JobSpec;
pub use self::state::{JobState, Phase};
pub use self::time_bounds::TimeBound;
pub use self::verdict::Verdict;
pub use crate::queue::name::QueueName;
