//! Typed jobs: components that export the world `jobwright:job`, in `guest-sdk/wit/`.

use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::{AttemptError, RetryHint, is_media_type};
use wasmtime::StoreContextMut;
use wasmtime::component::{Component, HasSelf, Linker};

use self::bindings::JobPre;
use self::bindings::jobwright::job::{cancellation, checkpoint, progress, types};
use self::bindings::wasi::logging::logging;
use super::super::capability::Level;
use super::super::ending::{Cut, Said};
use super::super::instance::Guest;
use super::super::stdio::Sink as _;
use super::{Call, Misfit, check_type, wasi};

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

/// The package of its log.
pub(super) const LOGGING: &str = "wasi:logging";

/// What the world offers, by package.
pub(super) const INTERFACES: [(&str, &[&str]); 2] =
    [(PACKAGE, &["types", "progress", "cancellation", "checkpoint"]), (LOGGING, &["logging"])];

/// Offers what the world imports.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    progress::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    checkpoint::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    logging::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    link_cancellation(linker)
}

/// A typed job, linked.
pub(in super::super) struct Function {
    pub(super) linked: JobPre<Guest>,
}

impl Function {
    pub(super) fn new(linker: &Linker<Guest>, component: &Component) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(component)?;
        check_type::<(&types::Request,), (Result<types::Response, types::Error>,)>(
            &linked,
            ENTRY_POINT,
            "run",
        )?;
        Ok(Self { linked: JobPre::new(linked)? })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Cut> {
        let Call { attempt, output, store, meter } = call;
        let job = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        let request = request(attempt);
        let ended = meter.drive(job.jobwright_job_run().call_run(&mut *store, &request)).await?;
        match ended? {
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
    };
    Said::Failed { error: AttemptError::new("failed", message), retry }
}

fn request(attempt: &Attempt) -> types::Request {
    let (job, spec) = (&attempt.job, &attempt.job.spec);
    types::Request {
        payload: types::Payload {
            content_type: attempt.payload.content_type.clone(),
            bytes: attempt.payload.bytes.to_vec(),
        },
        job: types::Metadata {
            id: job.id.to_string(),
            attempt: job.lifecycle.attempt,
            max_attempts: spec.max_attempts.into(),
            queue: spec.queue.to_string(),
            plugin: format!("{}@{}", spec.plugin, spec.version),
            created_at_ms: u64::try_from(job.created_at.as_millisecond()).unwrap_or_default(),
            tags: spec.tags.clone(),
            args: spec.args.clone(),
            env: wasi::variables(attempt).into_iter().collect(),
        },
    }
}

impl types::Host for Guest {}

impl progress::Host for Guest {
    fn report(&mut self, fraction: Option<f64>, message: String) {
        self.line().progress(fraction, message.as_bytes());
    }
}

/// By hand, because the generated code does not show the `wasmtime::Store`, which has the fuel.
fn link_cancellation(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("jobwright:job/cancellation@0.1.0")?;
    interface.func_wrap("is-cancelled", |guest: StoreContextMut<'_, Guest>, ()| {
        Ok((guest.data().line().is_cancelled(),))
    })?;
    interface.func_wrap("remaining", |guest: StoreContextMut<'_, Guest>, ()| {
        let time_ms = guest.data().line().remaining_ms();
        Ok((cancellation::Budget { time_ms, fuel: guest.get_fuel().ok() },))
    })
}

impl checkpoint::Host for Guest {
    fn save(&mut self, state: Vec<u8>) -> Result<(), checkpoint::SaveError> {
        self.line().save(&state).map_err(|error| checkpoint::SaveError::TooLarge(error.most))
    }

    fn load(&mut self) -> Option<Vec<u8>> {
        self.line().load().map(Into::into)
    }
}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, context: String, message: String) {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
            logging::Level::Critical => Level::Critical,
        };
        self.line().log(level, &context, message.as_bytes());
    }
}
