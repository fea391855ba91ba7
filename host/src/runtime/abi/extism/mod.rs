//! Extism plug-ins: core modules that import `extism:host/env`, written with any of Extism's PDKs.
//!
//! The job's payload is their input; their configuration is the environment of the job, and the
//! values that the operator configured, which take precedence. Extism's own kernel is a module that
//! needs features which this host does not compile in, so [`kernel`] is one of our own, with the
//! same functions over a [`state`] whose [`arena`] counts as memory of the job. [`requests`] sends
//! HTTP requests.

mod arena;
pub(super) mod kernel;
pub(in super::super) mod names;
mod requests;
pub(in super::super) mod state;

use jobwright_core::attempt::Attempt;
use jobwright_core::exit_codes::Meaning;
use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, RetryHint};
use wasmtime::{ExternType, Func, InstancePre, Linker, Module, Store, Val};

use self::names::{CONSTRUCTORS, HASKELL, INITIALIZE, START, is_entry_point};
use self::requests::RequestFailed;
use self::state::Kernel;
use super::super::ending::{self, Abort, GuestResult};
use super::super::guest::Guest;
use super::super::meter::Meter;
use super::super::stdio::Sink as _;
use super::call::Call;
use super::fit::Misfit;

/// A plug-in, linked.
pub(in super::super) struct Plugin {
    pub(super) linked: InstancePre<Guest>,
    /// The functions that are called before the entry point.
    before: Vec<&'static str>,
    /// The entry point of a job that names none.
    only: Option<String>,
}

impl Plugin {
    pub(super) fn new(linker: &Linker<Guest>, module: &Module) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(module)?;
        let names = module.exports().map(|export| export.name());
        let callable: Vec<_> = names.filter(|name| is_callable(module, name)).collect();
        // If there are other functions, a program's own entry point only prepares for them, so it
        // is no choice.
        let mut others = callable.iter().filter(|name| callable.len() == 1 || **name != START);
        let only = others.next().filter(|_| others.next().is_none());
        let only = only.map(|name| (*name).to_owned());
        Ok(Self { linked, before: before(module), only })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<GuestResult, Abort> {
        let Call { attempt, output, store, meter } = call;
        let name = match self.entry_point(attempt) {
            Ok(name) => name,
            Err(message) => return Ok(no_entry_point(message)),
        };
        *store.data_mut().extism() = Kernel::new(attempt);
        let ended = self.answer(name, store, meter).await;
        let kernel = store.data_mut().extism();
        let said = kernel.error();
        let code = match ended {
            Ok(code) => Some(code),
            Err(Abort::Failed(error)) if ending::is_exit(&error, 0) => Some(0),
            // Its own error takes precedence over how it ended, unless that was a limit.
            Err(Abort::Failed(error)) if said.is_some() && ending::enforced(&error).is_none() => {
                None
            }
            Err(abort) => {
                kernel.keep_in(output);
                return unanswered(abort);
            }
        };
        let meaning = meaning(attempt, said.is_some(), code);
        if meaning == Meaning::Succeed {
            for piece in kernel.output() {
                output.take(piece).map_err(wasmtime::Error::from)?;
            }
        } else {
            kernel.keep_in(output);
            if said.is_none()
                && code != Some(0)
                && let Some(announced) = store.data_mut().channel_mut().failure()
            {
                return Ok(announced);
            }
        }
        let answered =
            || format!("the function `{}` returned {}", shorten(name), code.unwrap_or_default());
        let message = said.unwrap_or_else(answered);
        Ok(ending::result_of_meaning(meaning, AttemptError::new("failed", message)))
    }

    /// The function that the job calls.
    fn entry_point<'a>(&'a self, attempt: &'a Attempt) -> Result<&'a str, String> {
        let Some(name) = &attempt.job.spec.entrypoint else {
            let none = "the job names no entry point, and the plugin does not have exactly one: \
                        set `entrypoint`";
            return self.only.as_deref().ok_or_else(|| none.to_owned());
        };
        if is_callable(self.linked.module(), name) {
            return Ok(name);
        }
        let shown = shorten(name);
        Err(format!("the plugin exports no function `{shown}` of the type () -> (i32)"))
    }

    /// Instantiates the guest and calls its function; returns the result, or 0 if the function has
    /// none.
    async fn answer(
        &self,
        name: &str,
        store: &mut Store<Guest>,
        meter: &mut Meter,
    ) -> Result<i32, Abort> {
        let made = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        let mut answer = 0;
        let before = if name == START { &[][..] } else { &self.before };
        for name in before.iter().copied().chain([name]) {
            let missing = || wasmtime::format_err!("its function `{}` is gone", shorten(name));
            let function = made.get_func(&mut *store, name).ok_or_else(missing)?;
            answer = called(function, store, meter).await?;
        }
        Ok(answer)
    }
}

/// The result of a job without an entry point.
fn no_entry_point(message: String) -> GuestResult {
    let error = AttemptError::new("no_entry_point", message);
    GuestResult::Failed { error, retry: RetryHint::Never }
}

/// Calls a function; its arguments are zeros.
async fn called(function: Func, store: &mut Store<Guest>, meter: &mut Meter) -> Result<i32, Abort> {
    // Nearly all functions have this type, and typed calls are the cheapest.
    if let Ok(function) = function.typed::<(), i32>(&*store) {
        return Ok(meter.drive(function.call_async(&mut *store, ())).await??);
    }
    let ty = function.ty(&*store);
    let arguments = vec![Val::I32(0); ty.params().len()];
    let mut results = vec![Val::I32(0); ty.results().len()];
    meter.drive(function.call_async(&mut *store, &arguments, &mut results)).await??;
    Ok(results.first().and_then(Val::i32).unwrap_or_default())
}

/// Whether a job may call the export `name`.
fn is_callable(module: &Module, name: &str) -> bool {
    let Some(ExternType::Func(ty)) = module.get_export(name) else { return false };
    let signature = match (ty.params().len(), ty.results().len()) {
        (0, 0) => "() -> ()",
        (0, 1) if ty.results().all(|ty| ty.is_i32()) => "() -> (i32)",
        _ => return false,
    };
    is_entry_point(name, signature)
}

/// The functions that are called first, as by Extism's own hosts.
fn before(module: &Module) -> Vec<&'static str> {
    let nothing = |name: &str| match module.get_export(name) {
        Some(ExternType::Func(ty)) => ty.params().len() + ty.results().len() == 0,
        _ => false,
    };
    if let Some(ExternType::Func(_)) = module.get_export(HASKELL) {
        return [INITIALIZE].into_iter().filter(|name| nothing(name)).chain([HASKELL]).collect();
    }
    [CONSTRUCTORS, INITIALIZE].into_iter().find(|name| nothing(name)).into_iter().collect()
}

/// The meaning of the code that the function returned, or `None` if it trapped. A guest that set an
/// error failed.
fn meaning(attempt: &Attempt, is_error: bool, code: Option<i32>) -> Meaning {
    let usual = if is_error || code != Some(0) { Meaning::Retry } else { Meaning::Succeed };
    let set = code.and_then(|code| attempt.job.spec.exit_codes.meaning(code));
    // A guest that set an error failed; its exit codes only decide whether it is retried.
    set.filter(|set| !(is_error && (*set == Meaning::Succeed || code == Some(0)))).unwrap_or(usual)
}

/// The result of a call that did not return: a failed request, or wasmtime's error.
fn unanswered(abort: Abort) -> Result<GuestResult, Abort> {
    if let Abort::Failed(error) = &abort
        && let Some(failed) = error.downcast_ref::<RequestFailed>()
    {
        let (error, retry) = failed.error();
        return Ok(GuestResult::Failed { error, retry });
    }
    Err(abort)
}
