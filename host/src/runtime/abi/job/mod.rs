//! Typed jobs: components that export the world `jobwright:job`, in `guest-sdk/wit/`.
//!
//! | file | owns |
//! |---|---|
//! | [`imports`] | what the world offers, the same in all versions |
//! | [`v0_1`] | the types of version 0.1 |
//!
//! A new version of the world gets its types in a file here; those before it run as they did.

mod imports;
mod v0_1;

use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::{AttemptError, RetryHint, is_media_type};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use self::bindings::JobPre;
use self::bindings::jobwright::job::types;
pub(super) use self::imports::link;
use super::super::ending::{Cut, Said};
use super::super::instance::Guest;
use super::super::stdio::Sink as _;
use super::{Call, Misfit, check_version, wasi};

mod bindings {
    #![allow(missing_docs, reason = "generated; the texts are in the WIT")]
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "job",
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// What a typed job exports.
pub(in super::super) const ENTRY_POINT: &str = "jobwright:job/run";

/// The package of the world.
pub(super) const PACKAGE: &str = "jobwright:job";

/// Its versions, the latest first.
pub(super) const VERSIONS: [&str; 2] = ["0.2", "0.1"];

/// The package of its log.
pub(super) const LOGGING: &str = "wasi:logging";

/// What the world offers, by package.
pub(super) const INTERFACES: [(&str, &[&str]); 2] =
    [(PACKAGE, &["types", "progress", "cancellation", "checkpoint"]), (LOGGING, &["logging"])];

/// A typed job, linked.
pub(in super::super) enum Function {
    Latest(JobPre<Guest>),
    V0_1(v0_1::JobPre<Guest>),
}

impl Function {
    pub(super) fn new(linker: &Linker<Guest>, component: &Component) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(component)?;
        let [latest, v0_1] = VERSIONS;
        if component.get_export_index(None, format!("{ENTRY_POINT}@{latest}.0")).is_none() {
            v0_1::check(&linked, (ENTRY_POINT, v0_1))?;
            return Ok(Self::V0_1(v0_1::JobPre::new(linked)?));
        }
        check_version::<(&types::Request,), (Result<types::Response, types::Error>,)>(
            &linked,
            (ENTRY_POINT, latest),
            "run",
        )?;
        Ok(Self::Latest(JobPre::new(linked)?))
    }

    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Latest(function) => function.engine(),
            Self::V0_1(function) => function.engine(),
        }
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Cut> {
        let Call { attempt, output, store, meter } = call;
        let request = request(attempt);
        let ended = match self {
            Self::Latest(function) => {
                let job = meter.instantiate(function.instantiate_async(&mut *store)).await??;
                let run = job.jobwright_job_run().call_run(&mut *store, &request);
                meter.drive(run).await??
            }
            Self::V0_1(function) => {
                let job = meter.instantiate(function.instantiate_async(&mut *store)).await??;
                let request = request.into();
                let run = job.jobwright_job_run().call_run(&mut *store, &request);
                meter.drive(run).await??.map(Into::into).map_err(Into::into)
            }
        };
        match ended {
            Ok(response) => {
                output.take(&response.bytes).map_err(wasmtime::Error::from)?;
                let content_type = response.content_type.filter(|named| is_media_type(named));
                Ok(Said::Done { content_type })
            }
            Err(error) => Ok(failed(error)),
        }
    }
}

fn failed(error: types::Error) -> Said {
    let (message, retry) = match error {
        types::Error::Permanent(message) => (message, RetryHint::Never),
        types::Error::Retry(types::Retry { message, delay_ms }) => {
            let after = |ms| RetryHint::After(Duration::from_millis(ms));
            (message, delay_ms.map_or(RetryHint::Backoff, after))
        }
        types::Error::Later(types::Later { message, delay_ms }) => {
            let wait = delay_ms.map(Duration::from_millis);
            return Said::Later { error: AttemptError::new("later", message), wait };
        }
    };
    Said::Failed { error: AttemptError::new("failed", message), retry }
}

fn request(attempt: &Attempt) -> types::Request {
    let (job, spec) = (&attempt.job, &attempt.job.spec);
    let tries = job.tries();
    types::Request {
        payload: types::Payload {
            content_type: attempt.payload.content_type.clone(),
            bytes: attempt.payload.bytes.to_vec(),
        },
        job: types::Metadata {
            id: job.id.to_string(),
            attempt: tries.attempt,
            max_attempts: tries.last_attempt,
            queue: spec.queue.to_string(),
            plugin: format!("{}@{}", spec.plugin, spec.version),
            created_at_ms: u64::try_from(job.created_at.as_millisecond()).unwrap_or_default(),
            tags: spec.tags.clone(),
            args: spec.args.clone(),
            env: wasi::variables(attempt).into_iter().collect(),
            failures: tries.failures.into(),
            attempts_left: tries.left.into(),
        },
    }
}
