//! The host functions of the world: log, progress, checkpoint and cancellation.
//!
//! Linked by hand, under the name of each version: these functions are the same in all of them, and the
//! generated code does not show the `wasmtime::Store`, which has the fuel.

use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker};

use super::super::super::capability::channel::Level;
use super::super::super::guest::Guest;
use super::bindings::jobwright::job::{cancellation, checkpoint};
use super::bindings::wasi::logging::logging;
use super::world::{PACKAGE, VERSIONS};

type Host<'a> = StoreContextMut<'a, Guest>;

/// Links the imports of the world, in every version.
pub(in super::super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    for version in VERSIONS {
        let name = |interface: &str| format!("{PACKAGE}/{interface}@{version}.0");
        // This interface has no functions.
        linker.instance(&name("types"))?;
        link_progress(linker, &name("progress"))?;
        link_cancellation(linker, &name("cancellation"))?;
        link_checkpoint(linker, &name("checkpoint"))?;
    }
    Ok(())
}

fn link_progress(linker: &mut Linker<Guest>, name: &str) -> wasmtime::Result<()> {
    linker.instance(name)?.func_wrap(
        "report",
        |guest: Host<'_>, (fraction, message): (Option<f64>, String)| {
            guest.data().channel().progress(fraction, message.as_bytes());
            Ok(())
        },
    )
}

fn link_cancellation(linker: &mut Linker<Guest>, name: &str) -> wasmtime::Result<()> {
    let mut interface = linker.instance(name)?;
    interface.func_wrap("is-cancelled", |guest: Host<'_>, ()| {
        Ok((guest.data().channel().is_cancelled(),))
    })?;
    interface.func_wrap("remaining", |guest: Host<'_>, ()| {
        let time_ms = guest.data().channel().remaining_ms();
        Ok((cancellation::Budget { time_ms, fuel: guest.get_fuel().ok() },))
    })
}

fn link_checkpoint(linker: &mut Linker<Guest>, name: &str) -> wasmtime::Result<()> {
    let mut interface = linker.instance(name)?;
    interface.func_wrap("save", |mut guest: Host<'_>, (state,): (Vec<u8>,)| {
        let saved = guest.data_mut().channel_mut().save(&state);
        Ok((saved.map_err(|error| checkpoint::SaveError::TooLarge(error.most)),))
    })?;
    interface.func_wrap("load", |guest: Host<'_>, ()| {
        Ok((guest.data().channel().load().map(Vec::<u8>::from),))
    })
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
        self.channel().log(level, &context, message.as_bytes());
    }
}
