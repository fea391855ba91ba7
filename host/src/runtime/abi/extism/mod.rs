//! Extism plug-ins: core modules that import `extism:host/env`, written with any of Extism's PDKs.
//!
//! The job's payload is their input, its environment their configuration. Extism's own kernel is a
//! module that needs features which this host does not compile in, so [`kernel`] is one of our own,
//! with the same functions over an [`arena`] that counts as memory of the job.

mod arena;
pub(in super::super) mod kernel;

use jobwright_core::attempt::Attempt;
use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, RetryHint};
use wasmtime::{ExternType, Func, Instance, InstancePre, Linker, Module, Val};

use self::kernel::Kernel;
use super::super::ending::{Cut, Said};
use super::super::instance::Guest;
use super::super::stdio::Sink as _;
use super::{Call, Misfit};

/// The module whose functions make a module an Extism plug-in.
pub(in super::super) const ENV: &str = "extism:host/env";

/// What prepares a language's runtime, in the order in which it is called; the last is Haskell's.
const RUNTIME: [&str; 3] = ["__wasm_call_ctors", "_initialize", "hs_init"];

/// Whether an export of this name and signature is a job's entry point, and not its runtime's own.
pub(in super::super) fn is_entry_point(name: &str, signature: &str) -> bool {
    let callable = matches!(signature, "() -> ()" | "() -> (i32)");
    callable && !name.starts_with('_') && !RUNTIME.contains(&name) && !name.contains("asyncify")
}

/// A plug-in, linked.
pub(in super::super) struct Plugin {
    pub(super) linked: InstancePre<Guest>,
    /// What a job may call that does not say what.
    only: Option<String>,
}

impl Plugin {
    pub(super) fn new(linker: &Linker<Guest>, module: &Module) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(module)?;
        let mut callable = module.exports().filter_map(|export| match export.ty() {
            ExternType::Func(ty) => {
                let shape = match (ty.params().len(), ty.results().len()) {
                    (0, 0) => "() -> ()",
                    (0, 1) if ty.results().all(|ty| ty.is_i32()) => "() -> (i32)",
                    _ => "",
                };
                is_entry_point(export.name(), shape).then(|| export.name().to_owned())
            }
            _ => None,
        });
        let only = callable.next().filter(|_| callable.next().is_none());
        drop(callable);
        Ok(Self { linked, only })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Cut> {
        let Call { attempt, output, store, meter } = call;
        *store.data_mut().extism() = Kernel::new(attempt);
        let made = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        for name in RUNTIME {
            if let Some(init) = made.get_func(&mut *store, name) {
                let arguments = vec![Val::I32(0); init.ty(&*store).params().len()];
                let mut results = vec![Val::I32(0); init.ty(&*store).results().len()];
                meter.drive(init.call_async(&mut *store, &arguments, &mut results)).await??;
            }
        }
        let (function, name) = self.entry_point(attempt, &made, store)?;
        let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
        let ended = meter.drive(function.call_async(&mut *store, &[], &mut results)).await?;
        let kernel = store.data_mut().extism();
        // What it says of itself goes before how it came to its end, as for Extism's own hosts.
        if let Some(message) = kernel.error() {
            return Ok(failed(message));
        }
        ended?;
        match results.first().and_then(Val::i32).unwrap_or_default() {
            0 => {
                output.take(kernel.output()).map_err(wasmtime::Error::from)?;
                Ok(Said::Done { content_type: None })
            }
            code => Ok(failed(format!("`{}` answered {code}", shorten(&name)))),
        }
    }

    fn entry_point(
        &self,
        attempt: &Attempt,
        instance: &Instance,
        store: &mut wasmtime::Store<Guest>,
    ) -> Result<(Func, String), Cut> {
        let asked = attempt.job.spec.entrypoint.as_ref().or(self.only.as_ref());
        let name = asked.ok_or_else(|| wasmtime::format_err!("the job names no entry point"))?;
        let missing = || wasmtime::format_err!("it exports no function `{}`", shorten(name));
        let function = instance.get_func(&mut *store, name).ok_or_else(missing)?;
        Ok((function, name.clone()))
    }
}

fn failed(message: String) -> Said {
    Said::Failed { error: AttemptError::new("failed", message), retry: RetryHint::Backoff }
}
