//! What `run` and `dev` grant a plugin: the same as an operator grants it on a host, by the same code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::{Grants, KeyValueGrant, Origin, SecretName};
use jobwright_core::job::Job;
use jobwright_core::log::LogBuffer;
use jobwright_core::outside::Granted;
use jobwright_core::secret::{MAX_ORIGINS, Secret, SecretError, SecretStore, SecretValue};
use jobwright_core::tenant::TenantName;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::exit::Fault;
use super::kept::KeptFile;
use super::options::{assignment, read_json};
use crate::api::error::FieldError;
use crate::api::grants as api_grants;
use crate::clock;
use crate::outside::values::Values;
use crate::outside::web::Web;
use crate::outside::{Means, Reach};
use crate::privacy;

/// The heading of these options.
const GRANTS: &str = "Grants";

/// What a plugin may keep that is given values and no grant, in bytes: as a value of them may have.
const KEPT_BYTES: u64 = 1 << 20;

/// What all of its values may take, in bytes; a grant bounds them further.
const VALUES_BYTES: u64 = 1 << 30;

/// What the plugin is granted; by default nothing.
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

/// What these options grant to one attempt after the other.
#[derive(Debug)]
pub(super) struct Granting {
    grants: Arc<Grants>,
    means: Means,
    kept: Option<KeptFile>,
    /// Temporary directory of the values, deleted on drop.
    _folder: TempDir,
}

impl GrantOptions {
    /// Reads the options, and opens what they grant.
    ///
    /// # Errors
    /// If a value cannot be read, or a host would refuse the grants.
    pub(super) fn open(&self) -> anyhow::Result<Granting> {
        let (grants, secrets) = self.read()?;
        let folder = privacy::temporary_folder().context("cannot create a temporary folder")?;
        let values = Arc::new(Values::open(folder.path(), VALUES_BYTES)?);
        let kept = self.key_value.clone().map(KeptFile::new);
        let means = Means {
            secrets: Arc::new(Given(secrets)),
            web: Arc::new(Web::new(Handle::current())),
            values,
        };
        Ok(Granting { grants: Arc::new(grants), means, kept, _folder: folder })
    }

    fn read(&self) -> anyhow::Result<(Grants, BTreeMap<SecretName, Secret>)> {
        let mut grants = Grants::default();
        if let Some(given) = &self.grants {
            let json = serde_json::value::to_raw_value(&read_json(given, "the grants")?)?;
            let listed = |errors: Vec<FieldError>| {
                let errors =
                    errors.iter().map(|error| format!("{}: {}", error.field, error.message));
                Fault::Data.says(errors.collect::<Vec<_>>().join("; "))
            };
            grants = api_grants::of_json(json).map_err(listed)?;
        }
        grants.config.extend(self.config.iter().cloned());
        if self.key_value.is_some() {
            grants.key_value.get_or_insert(KeyValueGrant { bytes: KEPT_BYTES });
        }
        let secrets = self.secrets(&mut grants)?;
        let faults = grants.faults();
        if !faults.is_empty() {
            let faults: Vec<String> = faults
                .iter()
                .map(|(field, message)| format!("grants.{field}: {message}"))
                .collect();
            return Err(Fault::Data.says(faults.join("; ")).into());
        }
        Ok((grants, secrets))
    }

    /// The secrets that are given, which is a grant of them.
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
            let name: SecretName = name.parse().map_err(|error| Fault::Usage.says(error))?;
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
                Err(Fault::Usage.says(message).into())
            }
        }
    }
}

/// The value of a secret, from where other users of the machine do not see it.
fn value(name: &SecretName, file: Option<&str>) -> anyhow::Result<SecretValue> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file).with_context(|| {
            Fault::NoInput.says(format!("cannot read the secret `{name}` in {file}"))
        })?,
        None => std::env::var(name.as_str()).map_err(|error| {
            Fault::NoInput.says(format!(
                "cannot read the secret `{name}`: {error}; set the variable {name}, or give --secret \
                 {name}=FILE"
            ))
        })?,
    };
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(text
        .try_into()
        .map_err(|error| Fault::Data.says(format!("the secret `{name}`: {error}")))?)
}

impl Granting {
    /// What an attempt at `job` that writes `log` is granted.
    pub(super) fn granted(&self, job: &Job, log: &Arc<LogBuffer>) -> Granted {
        let owner = (job.spec.tenant.clone(), job.spec.plugin.clone());
        let reach = Reach::new(owner, self.grants.clone(), self.means.clone(), log.clone());
        Granted { grants: self.grants.clone(), outside: Arc::new(reach) }
    }

    /// What is granted.
    pub(super) fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Gives the plugin of `job` the values of its file.
    pub(super) async fn load_values(&self, job: &Job) -> anyhow::Result<()> {
        let owner = (&job.spec.tenant, &job.spec.plugin);
        let Some(kept) = &self.kept else { return Ok(()) };
        kept.load(&self.means.values, owner, self.grants.key_value).await
    }

    /// Writes them to the file, as they are after an attempt.
    pub(super) async fn save_values(&self, job: &Job) -> anyhow::Result<()> {
        let owner = (&job.spec.tenant, &job.spec.plugin);
        let Some(kept) = &self.kept else { return Ok(()) };
        kept.save(&self.means.values, owner).await
    }
}

/// The secrets that were given, for as long as the command takes.
#[derive(Debug)]
struct Given(BTreeMap<SecretName, Secret>);

#[async_trait]
impl SecretStore for Given {
    fn get(&self, _: &TenantName, name: &SecretName) -> Option<Secret> {
        self.0.get(name).cloned()
    }

    fn known_to(&self, _: &TenantName, to: &http::Uri) -> Vec<SecretValue> {
        let is_known =
            |secret: &&Secret| secret.origins.iter().any(|origin| origin.has_host_of(to));
        self.0.values().filter(is_known).map(|secret| secret.value.clone()).collect()
    }

    fn list(&self, _: &TenantName) -> Vec<(SecretName, Secret)> {
        self.0.iter().map(|(name, secret)| (name.clone(), secret.clone())).collect()
    }

    async fn set(&self, _: &TenantName, _: &SecretName, _: Secret) -> Result<bool, SecretError> {
        // No command sets one here.
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
