//! The domain of Jobwright: jobs, what may happen to them, and the traits behind which all effects are.
//!
//! Three principles: a job is a row, an attempt is a lease on it, an outcome is a value; decisions are
//! pure functions, and effects are behind traits ([`JobStore`], [`Runtime`], [`PluginRegistry`],
//! [`Clock`]); a guest gets nothing that it was not granted.
//!
//! | module | owns |
//! |---|---|
//! | [`tenant`], [`access`] | tenants and their limits; API keys and audit entries |
//! | [`job`] | jobs: specification, states, transitions, records of attempts |
//! | [`hold`] | holds: paused queues, disabled tenants and plugins |
//! | [`command`] | arguments and variables of a command |
//! | [`exit_codes`] | the meaning of a plugin's exit codes |
//! | [`attempt`] | a lease, and what a runtime is given |
//! | [`outcome`] | how an attempt ended, and its usage |
//! | [`retry`] | the verdict on an attempt that ended |
//! | [`limits`] | what an attempt may use, and the operator's ceilings |
//! | [`grant`] | what a plugin may reach |
//! | [`seed`] | the key from which the random numbers of attempts are derived |
//! | [`secret`] | secrets: how they are placed into requests and masked in responses |
//! | [`plugin`], [`digest`] | names, versions, references and digests of plugins |
//! | [`queue`], [`capacity`] | the order of claims, and how many jobs are accepted |
//! | [`ledger`] | the commands of a store, decided once for every driver |
//! | [`change`] | committed changes and the stream of them |
//! | [`log`], [`report`] | the bounded log of an attempt, its progress and its checkpoint |
//! | [`text`] | untrusted text in messages and logs |
//! | [`store`], [`runtime`], [`registry`], [`clock`], [`services`] | the traits |
//!
//! The domain uses no tokio runtime, wasmtime, axum, SQL or files.

pub mod access;
pub mod attempt;
pub mod capacity;
pub mod change;
pub mod clock;
pub mod command;
pub mod digest;
pub mod exit_codes;
pub mod grant;
pub mod hold;
pub mod host;
pub mod job;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod name;
pub mod outcome;
pub mod plugin;
pub mod queue;
pub mod registry;
pub mod report;
pub mod retry;
pub mod runtime;
pub mod secret;
pub mod seed;
pub mod services;
pub mod store;
pub mod tenant;
pub mod text;

pub use access::AccessStore;
pub use attempt::{Attempt, Lease};
pub use clock::{Clock, Timestamp};
pub use digest::Digest;
pub use exit_codes::ExitCodes;
pub use grant::Grants;
pub use host::HostId;
pub use job::{
    AttemptRecord, Job, JobId, JobSpec, JobState, Lifecycle, Payload, Phase, Priority, Seed, Start,
    Verdict,
};
pub use limits::{Fuel, Limit, LimitPolicy, Limits, LimitsRequest};
pub use log::LogBuffer;
pub use outcome::{AttemptError, Outcome, Output, RetryHint, Usage};
pub use plugin::{PluginName, PluginRef, Version};
pub use queue::QueueName;
pub use registry::PluginRegistry;
pub use report::{Progress, ProgressReporter};
pub use retry::{Backoff, RetryPolicy};
pub use runtime::Runtime;
pub use secret::SecretStore;
pub use services::{Capabilities, HostServices};
pub use store::{JobReads, JobStore, Store};
pub use tenant::TenantName;
