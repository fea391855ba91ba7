//! The plugins that one submission needs, each read once, however many of its jobs need it.

use std::collections::HashMap;
use std::sync::Arc;

use jobwright_core::clock::Clock;
use jobwright_core::plugin::{NotFound, Plugin, PluginName};
use jobwright_core::registry::PluginRegistry;
use jobwright_core::tenant::TenantName;

use super::refused::Refused;
use crate::parts::{Parts, in_time};

/// See the documentation of the module.
pub(super) struct InstalledPlugins<'a> {
    registry: &'a dyn PluginRegistry,
    clock: &'a dyn Clock,
    tenant: &'a TenantName,
    read: HashMap<PluginName, Option<Arc<Plugin>>>,
}

impl<'a> InstalledPlugins<'a> {
    /// The plugins of a tenant; none is read yet.
    pub(super) fn of(parts: &'a Parts, tenant: &'a TenantName) -> Self {
        let (registry, clock) = (&*parts.registry, &*parts.jobs.clock);
        Self { registry, clock, tenant, read: HashMap::new() }
    }

    /// One plugin.
    ///
    /// # Errors
    /// If it is not installed, or cannot be read.
    pub(super) async fn get(&mut self, name: &PluginName) -> Result<Arc<Plugin>, Refused> {
        let plugin = match self.read.get(name) {
            Some(plugin) => plugin.clone(),
            None => {
                let plugin = in_time(self.clock, self.registry.get(self.tenant, name)).await?;
                self.read.insert(name.clone(), plugin.clone());
                plugin
            }
        };
        plugin.ok_or_else(|| NotFound::Plugin(name.clone()).into())
    }
}
