//! The check that this host can call the code of a plugin.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower};
use wasmtime::error::Context as _;

use super::super::guest::Guest;
use super::versions::version_of;

/// Why this host can never call the code of a plugin.
#[derive(Debug)]
pub(in super::super) struct Misfit(pub(in super::super) String);

impl From<wasmtime::Error> for Misfit {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("it does not fit this host: {error:#}"))
    }
}

/// The function by which a component is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryPoint<'a> {
    pub(super) interface: &'a str,
    /// The minor version of the interface.
    pub(super) version: &'a str,
    pub(super) function: &'a str,
}

impl<'a> EntryPoint<'a> {
    /// The `function` of the latest version of `interface`.
    pub(super) fn latest(interface: &'a str, function: &'a str) -> Self {
        Self { interface, version: version_of(interface), function }
    }

    /// Refuses a component whose function does not take and return these types: the generated
    /// bindings detect a mismatch only at the call.
    pub(super) fn check<Params, Return>(self, linked: &InstancePre<Guest>) -> Result<(), Misfit>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        let Self { interface, version, function } = self;
        let component = linked.component();
        // Any release of a minor version is found under the name of any other.
        let name = format!("{interface}@{version}.0");
        let exported = component.get_export_index(None, name);
        match exported.and_then(|interface| component.get_export(Some(&interface), function)) {
            Some((ComponentItem::ComponentFunc(found), _)) => {
                let checked = found.typecheck::<Params, Return>(&linked.instance_type());
                checked.with_context(|| {
                    format!("its `{function}` of `{interface}` has another type")
                })?;
                Ok(())
            }
            _ => Err(Misfit(format!("its `{interface}` has no function `{function}`"))),
        }
    }
}
