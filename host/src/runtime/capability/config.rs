//! `wasi:config`: the values that the operator set for the plugin, and a placeholder for each secret
//! that it was granted.
//!
//! Linked by hand, because the drafts that guests import differ in their names only.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use super::super::guest::Guest;
use super::channel::Level;

/// The package of its interfaces.
pub(in super::super) const PACKAGE: &str = "wasi:config";

/// Its interfaces, by package.
pub(in super::super) const INTERFACES: (&str, &[&str]) = (PACKAGE, &["store", "runtime"]);

/// The drafts that guests are built with. In the earlier draft, the first interface had the name of
/// the last one.
pub(in super::super) const DRAFTS: &[&str] =
    &["0.2.0-rc.1", "0.2.0-draft", "0.2.0-draft-2024-09-27"];

/// Why there is no value.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
pub(super) enum Error {
    /// The provider of the values reports an error.
    #[component(name = "upstream")]
    Upstream(String),
    /// Never returned: no I/O is involved.
    #[component(name = "io")]
    #[expect(dead_code, reason = "the interface has it")]
    Io(String),
}

/// Links the interface for components.
pub(in super::super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for interface in INTERFACES.1 {
        for draft in DRAFTS {
            let mut instance = linker.instance(&format!("{PACKAGE}/{interface}@{draft}"))?;
            instance.func_wrap("get", |guest: StoreContextMut<'_, Guest>, (key,): (String,)| {
                Ok((guest.data().configured(&key),))
            })?;
            instance.func_wrap("get-all", |guest: StoreContextMut<'_, Guest>, (): ()| {
                Ok((guest.data().configuration().map_err(Error::Upstream),))
            })?;
        }
    }
    Ok(())
}

impl Guest {
    pub(super) fn configured(&self, key: &str) -> Result<Option<String>, Error> {
        let all = self.configuration().map_err(Error::Upstream)?;
        Ok(all.into_iter().find_map(|(name, value)| (name == key).then_some(value)))
    }

    /// All configured values.
    fn configuration(&self) -> Result<Vec<(String, String)>, String> {
        let all: Vec<_> = self.channel().granted().grants.configuration().collect();
        if all.is_empty() {
            let why = "denied: the plugin is granted no configuration";
            self.channel().log(Level::Warn, "config", why.as_bytes());
            return Err(why.to_owned());
        }
        Ok(all)
    }
}
