//! The ledger: the commands of a [`JobStore`](crate::store::JobStore), decided once for every driver.
//!
//! It holds the [`Queue`](crate::queue::Queue) of unfinished jobs and the budgets of what jobs leave behind, and
//! has [`Rows`] under it, which a driver implements. Each method is one command: it decides, writes what it
//! decided to the rows, and notes the [changes](crate::change) for subscribers. A driver runs commands in groups,
//! commits each group, and publishes the changes after the commit. If a commit fails, it is rolled back
//! and the ledger is loaded again.
//!
//! | module | owns |
//! |---|---|
//! | [`rows`] | what a driver implements |
//! | [`state`] | what is in memory, and the changes that are not published yet |
//! | [`enqueueing`], [`claiming`], [`ending`], [`requests`], [`controls`] | the commands |
//! | [`keeping`] | checkpoints and outputs: counted, bounded, displaced |
//! | [`history`], [`trimming`] | the history: counted by tenant, removed when it is too much or too old |
//! | [`memory`] | rows in memory |
//! | [`loading`] | the ledger rebuilt from durable rows |

mod claiming;
mod controls;
mod ending;
mod enqueueing;
mod history;
mod keeping;
mod loading;
mod memory;
mod requests;
mod rows;
mod state;
mod trimming;

pub use self::enqueueing::Admission;
pub use self::loading::{Commit, DurableRows, Found, FoundJob, HostRow};
pub use self::memory::MemoryRows;
pub use self::rows::{
    Bound, EndedAttempt, FinalizedRow, Kept, Place, REMOVED_TOGETHER, Removable, RowChange, Rows,
    Unreadable,
};
pub use self::state::Ledger;
