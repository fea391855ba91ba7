//! The domain of Jobwright: what a job is, what may happen to it, and the traits behind which
//! every effect lives.
//!
//! Three sentences that everything follows from: a job is a row, an attempt is a lease on it, an
//! outcome is a value; decisions are pure functions and effects are behind [`JobStore`],
//! [`Runtime`], [`PluginRegistry`] and [`Clock`]; a guest gets nothing that it was not granted.
//!
//! | module | owns |
//! |---|---|
//! | [`tenant`], [`access`] | whose things are, what a tenant may take, who may ask for what |
//! | [`hold`] | what claims pass by |
//! | [`job`] | a job, its identity, its specification and payload |
//! | [`command`] | what a command may be started with |
//! | [`exit_codes`] | what the exit codes of a plugin mean |
//! | [`lifecycle`] | the states of a job and every transition between them |
//! | [`attempt`] | one try: the lease, what the runtime is given, what is recorded |
//! | [`outcome`] | how an attempt ended, and the usage receipt it leaves |
//! | [`retry`] | the only decision about trying again |
//! | [`limits`] | what an attempt may use, and the operator's ceilings |
//! | [`grant`] | what a plugin may be granted to reach, and which of it its imports ask for |
//! | [`seed`] | the key from which the random numbers of attempts are derived |
//! | [`secret`] | what the host says for a guest: where it is put, and that it does not come back |
//! | [`plugin`] | names, versions, references and digests of plugins |
//! | [`queue`], [`capacity`] | what is claimed next, and how much may wait |
//! | [`ledger`] | the commands of a store, decided once for every driver |
//! | [`change`] | committed changes and the stream of them |
//! | [`log`], [`report`] | what an attempt tells: its bounded log, its progress and its checkpoint |
//! | [`text`] | foreign text in messages and logs |
//! | [`store`], [`runtime`], [`registry`], [`clock`], [`outside`] | the traits |
//!
//! No tokio runtime, wasmtime, axum, SQL or file is known here.

pub mod access;
pub mod attempt;
pub mod capacity;
pub mod change;
pub mod clock;
pub mod command;
pub mod exit_codes;
pub mod grant;
pub mod hold;
pub mod job;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod log;
pub mod name;
pub mod outcome;
pub mod outside;
pub mod plugin;
pub mod queue;
pub mod registry;
pub mod report;
pub mod retry;
pub mod runtime;
pub mod secret;
pub mod seed;
pub mod store;
pub mod tenant;
pub mod text;

pub use access::AccessStore;
pub use attempt::{Attempt, AttemptRecord, Lease, Seed, Start};
pub use clock::{Clock, Timestamp};
pub use exit_codes::ExitCodes;
pub use grant::Grants;
pub use job::{Job, JobId, JobSpec, Payload, Priority, QueueName};
pub use lifecycle::{JobState, Lifecycle, Phase};
pub use limits::{Fuel, Limit, LimitPolicy, Limits, LimitsRequest};
pub use log::LogBuffer;
pub use outcome::{AttemptError, Outcome, Output, RetryHint, Usage};
pub use outside::{Granted, Outside};
pub use plugin::{Digest, PluginName, PluginRef, Version};
pub use registry::PluginRegistry;
pub use report::{Progress, Report};
pub use retry::{RetryPolicy, Verdict};
pub use runtime::Runtime;
pub use secret::SecretStore;
pub use store::{JobReads, JobStore, Store};
pub use tenant::TenantName;
