//! Version 0.1 of the world, which has no snoozes, no number of failures and no number of attempts
//! left.

use wasmtime::component::InstancePre;

pub(super) use self::own::JobPre;
use self::own::jobwright::job::types::{Error, Metadata, Payload, Request, Response, Retry};
use super::super::super::guest::Guest;
use super::super::fit::{EntryPoint, Misfit};
use super::bindings::jobwright::job::types;
use super::world::ENTRY_POINT;

mod own {
    #![allow(missing_docs, reason = "generated; the texts are in the WIT")]
    wasmtime::component::bindgen!({
        path: ["../guest-sdk/wit/deps/logging", "../guest-sdk/wit/0.1"],
        world: "jobwright:job/job@0.1.0",
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// Refuses a component whose `run` does not take and return these types.
pub(super) fn check(linked: &InstancePre<Guest>, version: &str) -> Result<(), Misfit> {
    let run = EntryPoint { interface: ENTRY_POINT, version, function: "run" };
    run.check::<(&Request,), (Result<Response, Error>,)>(linked)
}

impl From<types::Request> for Request {
    fn from(types::Request { payload, job }: types::Request) -> Self {
        Self {
            payload: Payload { content_type: payload.content_type, bytes: payload.bytes },
            job: Metadata {
                id: job.id,
                attempt: job.attempt,
                max_attempts: job.max_attempts,
                queue: job.queue,
                plugin: job.plugin,
                created_at_ms: job.created_at_ms,
                tags: job.tags,
                args: job.args,
                env: job.env,
            },
        }
    }
}

impl From<Response> for types::Response {
    fn from(Response { content_type, bytes }: Response) -> Self {
        Self { content_type, bytes }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Permanent(message) => Self::Permanent(message),
            Error::Retry(Retry { message, delay_ms }) => {
                Self::Retry(types::Retry { message, delay_ms })
            }
        }
    }
}
