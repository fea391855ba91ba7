//! Typed jobs: components that export the world `jobwright:job`, in `guest-sdk/wit/`.
//!
//! | file | owns |
//! |---|---|
//! | [`world`] | names and versions |
//! | [`bindings`], [`v0_1`] | the types of the latest version, and of version 0.1 |
//! | [`calls`] | the request of a job, and the meaning of its errors |
//! | [`imports`] | the host functions, the same in all versions |
//!
//! A new version of the world gets its types in a file here; those before it run as they did.

mod bindings;
mod calls;
mod imports;
mod v0_1;
pub(in crate::runtime) mod world;

use jobwright_core::outcome::is_media_type;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use self::bindings::JobPre;
use self::bindings::jobwright::job::types;
pub(super) use self::imports::link;
use self::world::{ENTRY_POINT, VERSIONS};
use super::super::ending::{Abort, GuestResult};
use super::super::guest::Guest;
use super::super::stdio::Sink as _;
use super::call::Call;
use super::fit::{EntryPoint, Misfit};

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
            v0_1::check(&linked, v0_1)?;
            return Ok(Self::V0_1(v0_1::JobPre::new(linked)?));
        }
        let run = EntryPoint { interface: ENTRY_POINT, version: latest, function: "run" };
        run.check::<(&types::Request,), (Result<types::Response, types::Error>,)>(&linked)?;
        Ok(Self::Latest(JobPre::new(linked)?))
    }

    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Latest(function) => function.engine(),
            Self::V0_1(function) => function.engine(),
        }
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<GuestResult, Abort> {
        let Call { attempt, output, store, meter } = call;
        let request = calls::request(attempt);
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
                Ok(GuestResult::Done { content_type })
            }
            Err(error) => Ok(calls::failed(error)),
        }
    }
}
