//! The grants of `run` and `dev`. They are checked and enforced by the code of a host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::{Grants, KeyValueGrant, Origin, SecretName};
use jobwright_core::job::Job;
use jobwright_core::log::LogBuffer;
use jobwright_core::secret::tenant_secrets::Entry;
use jobwright_core::secret::{
    MAX_ORIGINS, Secret, SecretError, SecretStore, SecretValue, TenantSecrets,
};
use jobwright_core::services::Capabilities;
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::exit::Fault;

use super::options::{assignment, read_json};
use super::value_file::ValueFile;
use crate::api::http::error::FieldError;
use crate::api::plugin_settings::grants as api_grants;
use crate::clock;
use crate::privacy;
use crate::services::values::{Bounds, Owner, Values};
use crate::services::web::Web;
use crate::services::{AttemptServices, SharedServices};

/// The heading of these options.
const GRANTS: &str = "Grants";

/// The size limit of the values of a plugin that has `--key-value` and no grant `key_value`, in bytes: the
/// maximum length of one value.
const KEY_VALUE_BYTES: u64 = 1 << 20;

/// What all of its values may take; a grant bounds them further. The floor of free space is for what a
/// host has accepted, and here is none.
const VALUES: Bounds = Bounds { most_bytes: 1 << 30, free_bytes: 0 };

/// The grants of the plugin; none by default.
#[derive(Debug, clap::Args)]
pub(super) struct GrantOptions {
    /// Grants, as for `plugin set --grants`: JSON, or a file that holds it [default: none].
    #[arg(long, value_name = "JSON|FILE", help_heading = GRANTS)]
    grants: Option<String>,
    /// A secret, with the value of the environment variable NAME or of FILE. It is sent only where the
    /// grant `http` allows requests; repeatable [default: none].
    #[arg(long = "secret", value_name = "NAME[=FILE]", help_heading = GRANTS)]
    secrets: Vec<String>,
    /// A value of the plugin's configuration; repeatable [default: none].
    #[arg(long = "config-value", value_name = "NAME=VALUE", value_parser = assignment,
          help_heading = GRANTS)]
    config: Vec<(String, String)>,
    /// A file with the plugin's stored values, as JSON `{"bucket": {"key": "value"}}`: read before and
    /// written after each attempt; created if missing [default: none].
    #[arg(long, value_name = "FILE", help_heading = GRANTS)]
    key_value: Option<PathBuf>,
}

/// The grants of these options, for several attempts in sequence.
#[derive(Debug)]
pub(super) struct LocalGrants {
    grants: Arc<Grants>,
    shared: SharedServices,
    file: Option<ValueFile>,
    /// Temporary directory of the values, deleted on drop.
    _folder: TempDir,
}

impl GrantOptions {
    /// Reads the options, and opens the host services that they grant.
    ///
    /// # Errors
    /// If a file or variable cannot be read, or a host would refuse the grants.
    pub(super) fn open(&self) -> anyhow::Result<LocalGrants> {
        let (grants, secrets) = self.read()?;
        let folder = privacy::temporary_folder().context("cannot create a temporary folder")?;
        let values = Arc::new(Values::open(folder.path(), VALUES)?);
        let file = self.key_value.clone().map(ValueFile::new);
        let shared = SharedServices {
            secrets: Arc::new(GivenSecrets::new(secrets)),
            web: Arc::new(Web::new(Handle::current())),
            values,
        };
        Ok(LocalGrants { grants: Arc::new(grants), shared, file, _folder: folder })
    }

    fn read(&self) -> anyhow::Result<(Grants, BTreeMap<SecretName, Secret>)> {
        let mut grants = Grants::default();
        if let Some(given) = &self.grants {
            let json = serde_json::value::to_raw_value(&read_json(given, "the grants")?)?;
            let listed = |errors: Vec<FieldError>| {
                let errors =
                    errors.iter().map(|error| format!("{}: {}", error.field, error.message));
                Fault::Data.failure(errors.collect::<Vec<_>>().join("; "))
            };
            grants = api_grants::of_json(json).map_err(listed)?;
        }
        grants.config.extend(self.config.iter().cloned());
        if self.key_value.is_some() {
            grants.key_value.get_or_insert(KeyValueGrant { bytes: KEY_VALUE_BYTES });
        }
        let secrets = self.secrets(&mut grants)?;
        let faults = grants.faults();
        if !faults.is_empty() {
            let faults: Vec<String> = faults
                .iter()
                .map(|(field, message)| format!("grants.{field}: {message}"))
                .collect();
            return Err(Fault::Data.failure(faults.join("; ")).into());
        }
        Ok((grants, secrets))
    }

    /// The secrets of the options. Each is added to `grants`.
    fn secrets(&self, grants: &mut Grants) -> anyhow::Result<BTreeMap<SecretName, Secret>> {
        let mut secrets = BTreeMap::new();
        let mut origins: Vec<Origin> =
            grants.http.iter().map(|grant| grant.origin.clone()).collect();
        origins.truncate(MAX_ORIGINS);
        for given in &self.secrets {
            let (name, file) = match given.split_once('=') {
                Some((name, file)) => (name, Some(file)),
                None => (given.as_str(), None),
            };
            let name: SecretName = name.parse().map_err(|error| Fault::Usage.failure(error))?;
            let value = value(&name, file)?;
            let (origins, created_at) = (origins.clone(), clock::wall());
            grants.secrets.insert(name.clone());
            secrets.insert(name, Secret { value, origins, created_at });
        }
        match grants.secrets.iter().find(|name| !secrets.contains_key(*name)) {
            None => Ok(secrets),
            Some(name) => {
                let message = format!(
                    "the grants name the secret `{name}`, which has no value: set the variable {name} \
                     and give --secret {name}, or give --secret {name}=FILE"
                );
                Err(Fault::Usage.failure(message).into())
            }
        }
    }
}

/// The value of a secret, from a file or variable, which other users of the machine cannot read, unlike
/// arguments.
fn value(name: &SecretName, file: Option<&str>) -> anyhow::Result<SecretValue> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).with_context(|| {
            Fault::NoInput.failure(format!("cannot read the secret `{name}` in {file}"))
        })?,
        None => std::env::var(name.as_str()).map_err(|error| {
            Fault::NoInput.failure(format!(
                "cannot read the secret `{name}`: {error}; set the variable {name}, or give --secret \
                 {name}=FILE"
            ))
        })?,
    };
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(text
        .try_into()
        .map_err(|error| Fault::Data.failure(format!("the secret `{name}`: {error}")))?)
}

impl LocalGrants {
    /// The capabilities of an attempt of `job` that writes `log`.
    pub(super) fn granted(&self, job: &Job, log: &Arc<LogBuffer>) -> Capabilities {
        let owner = Owner { tenant: job.spec.tenant.clone(), plugin: job.spec.plugin.clone() };
        let services =
            AttemptServices::new(owner, self.grants.clone(), self.shared.clone(), log.clone());
        Capabilities { grants: self.grants.clone(), services: Arc::new(services) }
    }

    pub(super) fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Loads the values of the plugin of `job` from the file.
    pub(super) async fn load_values(&self, job: &Job) -> anyhow::Result<()> {
        let owner = (&job.spec.tenant, &job.spec.plugin);
        let Some(file) = &self.file else { return Ok(()) };
        file.load(&self.shared.values, owner, self.grants.key_value).await
    }

    /// Writes the values of the plugin of `job` to the file.
    pub(super) async fn save_values(&self, job: &Job) -> anyhow::Result<()> {
        let owner = (&job.spec.tenant, &job.spec.plugin);
        let Some(file) = &self.file else { return Ok(()) };
        file.save(&self.shared.values, owner).await
    }
}

/// The secrets of the options, in memory.
#[derive(Debug)]
struct GivenSecrets(Arc<TenantSecrets>);

impl GivenSecrets {
    fn new(given: BTreeMap<SecretName, Secret>) -> Self {
        let mut secrets = TenantSecrets::default();
        for (name, secret) in given {
            secrets.restore(name, Entry { current: Some(secret), retired: vec![] });
        }
        Self(Arc::new(secrets))
    }
}

#[async_trait]
impl SecretStore for GivenSecrets {
    fn of(&self, _: &TenantName) -> Result<Arc<TenantSecrets>, StoreError> {
        Ok(self.0.clone())
    }

    async fn list(&self, _: &TenantName) -> Result<Vec<(SecretName, Secret)>, StoreError> {
        Ok(self.0.iter().map(|(name, secret)| (name.clone(), secret.clone())).collect())
    }

    async fn set(&self, _: &TenantName, _: &SecretName, _: Secret) -> Result<bool, SecretError> {
        // Nothing calls this: `run` and `dev` have no command for it.
        Err(SecretError::Full)
    }

    async fn remove(
        &self,
        _: &TenantName,
        _: &SecretName,
        _: Timestamp,
    ) -> Result<bool, SecretError> {
        Ok(false)
    }
}
