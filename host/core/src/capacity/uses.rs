//! Which versions of plugins unfinished jobs need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hold::JobLabels;
use crate::plugin::name::PluginName;
use crate::plugin::version::Version;
use crate::tenant::TenantName;

/// The jobs of one plugin, by version.
type Versions = BTreeMap<Version, usize>;

/// Unfinished jobs, counted by tenant, plugin and version, which decides the digest. Clones share the
/// counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses(Arc<Mutex<BTreeMap<(TenantName, PluginName), Versions>>>);

/// One job among them, until dropped.
#[derive(Debug)]
pub(super) struct Use {
    of: Uses,
    labels: Arc<JobLabels>,
}

impl Uses {
    /// Counts a job with these labels.
    pub(super) fn begin(&self, labels: Arc<JobLabels>) -> Use {
        let plugin = (labels.tenant.clone(), labels.plugin.clone());
        let version = labels.version.clone();
        *self.lock().entry(plugin).or_default().entry(version).or_default() += 1;
        Use { of: self.clone(), labels }
    }

    /// How many jobs need the plugin, or this version of it.
    pub(super) fn count(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        version: Option<&Version>,
    ) -> usize {
        let counts = self.lock();
        let Some(versions) = counts.get(&(tenant.clone(), plugin.clone())) else { return 0 };
        match version {
            Some(version) => versions.get(version).copied().unwrap_or(0),
            None => versions.values().sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TenantName, PluginName), Versions>> {
        // Nothing panics between the changes of one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let plugin = (self.labels.tenant.clone(), self.labels.plugin.clone());
        let mut counts = self.of.lock();
        let Some(versions) = counts.get_mut(&plugin) else { return };
        if let Some(count) = versions.get_mut(&self.labels.version) {
            *count -= 1;
            if *count == 0 {
                versions.remove(&self.labels.version);
            }
        }
        if versions.is_empty() {
            counts.remove(&plugin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::queue::name::QueueName;

    #[test]
    fn jobs_are_counted_by_plugin_and_version_and_forgotten() {
        let (uses, tenant, plugin) =
            (Uses::default(), TenantName::default(), "p".parse().expect("a name"));
        let version = |text: &str| text.parse::<Version>().expect("a version");
        let begin = |text: &str| {
            let (tenant, queue) = (tenant.clone(), QueueName::default());
            let plugin: PluginName = "p".parse().expect("a name");
            let digest = Digest::of(b"");
            uses.begin(Arc::new(JobLabels {
                tenant,
                queue,
                plugin,
                version: version(text),
                digest,
            }))
        };
        let jobs = [begin("1.0.0"), begin("1.0.0"), begin("2.0.0")];
        assert_eq!(uses.count(&tenant, &plugin, None), 3);
        assert_eq!(uses.count(&tenant, &plugin, Some(&version("1.0.0"))), 2);
        assert_eq!(uses.count(&"other".parse().expect("a name"), &plugin, None), 0);
        drop(jobs);
        assert_eq!(uses.count(&tenant, &plugin, None), 0);
        assert!(uses.lock().is_empty());
    }
}
