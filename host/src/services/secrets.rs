//! The file of secrets: the current and retired values of all tenants, in one file that only its owner can
//! read. They are in memory too.
//!
//! Invariants: a change is on disk before it is acknowledged; values are written to this file only.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::{Origin, SecretName};
use jobwright_core::secret::tenant_secrets::{Entry, Retired};
use jobwright_core::secret::{Secret, SecretError, SecretStore, TenantSecrets};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use serde::{Deserialize, Serialize};

use crate::data_dir::{self, Part};
use crate::privacy;

/// The name of the file in the data directory.
const FILE: &str = "secrets.json";

/// How long a value is masked after it was replaced or removed, by default: as long as discarded jobs are
/// kept by default.
const RETIRED: Duration = Duration::from_secs(14 * 86_400);

type All = BTreeMap<TenantName, Arc<TenantSecrets>>;

/// See the documentation of the module.
#[derive(Debug, Clone)]
pub struct SecretFile {
    file: Arc<OnDisk>,
    retired: Duration,
}

#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    all: RwLock<All>,
    /// Locked for the whole of a change, from reading the secrets to having written them.
    changing: Mutex<()>,
}

/// A secret as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// `None` if the secret was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<Origin>,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<Line>,
}

type Lines = BTreeMap<TenantName, BTreeMap<SecretName, Line>>;

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl SecretFile {
    /// Opens the file in the data directory, which the caller has locked. A directory that never had
    /// secrets has no file.
    ///
    /// # Errors
    /// If the file cannot be read, if others than its owner can read it, or if it is lost.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        Part::Secrets.refuse_if_lost(data)?;
        let path = data.join(FILE);
        let all = load(&path)
            .with_context(|| format!("the secrets in {} cannot be used", path.display()))?;
        if !all.is_empty() {
            Part::Secrets.note_in(data);
        }
        let file = OnDisk { path, all: RwLock::new(all), changing: Mutex::default() };
        Ok(Self { file: Arc::new(file), retired: RETIRED })
    }

    /// Masks values for `retired` after they were replaced or removed.
    #[must_use]
    pub fn masking_retired(self, retired: Duration) -> Self {
        Self { retired, ..self }
    }

    /// Changes the secrets of a tenant, by `spawn_blocking`: the change completes even if the future is
    /// dropped.
    async fn change(
        &self,
        tenant: &TenantName,
        at: Timestamp,
        change: impl FnOnce(&mut TenantSecrets) -> Result<bool, SecretError> + Send + 'static,
    ) -> Result<bool, SecretError> {
        let (file, tenant) = (self.file.clone(), tenant.clone());
        let retired_before = at.checked_sub(self.retired).unwrap_or(Timestamp::MIN);
        let changing = move || {
            file.change(move |all| {
                let result = change(Arc::make_mut(all.entry(tenant).or_default()))?;
                all.values_mut().for_each(|secrets| Arc::make_mut(secrets).forget(retired_before));
                all.retain(|_, secrets| !secrets.is_empty());
                Ok(result)
            })
        };
        let changing = tokio::task::spawn_blocking(changing);
        changing.await.unwrap_or_else(|broken| Err(io::Error::from(broken).into()))
    }
}

impl OnDisk {
    fn all(&self) -> std::sync::RwLockReadGuard<'_, All> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `change`, writes the file, and then publishes the changed secrets.
    fn change(
        &self,
        change: impl FnOnce(&mut All) -> Result<bool, SecretError>,
    ) -> Result<bool, SecretError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.all().clone();
        let result = change(&mut all)?;
        let json = serde_json::to_vec_pretty(&lines(&all)).map_err(io::Error::from)?;
        data_dir::write(&self.path, &json)?;
        if let Some(directory) = self.path.parent() {
            Part::Secrets.note_in(directory);
        }
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(result)
    }
}

#[async_trait]
impl SecretStore for SecretFile {
    fn of(&self, tenant: &TenantName) -> Result<Arc<TenantSecrets>, StoreError> {
        Ok(self.file.all().get(tenant).cloned().unwrap_or_default())
    }

    async fn list(&self, tenant: &TenantName) -> Result<Vec<(SecretName, Secret)>, StoreError> {
        let secrets = self.of(tenant)?;
        Ok(secrets.iter().map(|(name, secret)| (name.clone(), secret.clone())).collect())
    }

    async fn set(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        secret: Secret,
    ) -> Result<bool, SecretError> {
        let (name, at) = (name.clone(), secret.created_at);
        self.change(tenant, at, move |secrets| secrets.set(&name, secret)).await
    }

    async fn remove(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        at: Timestamp,
    ) -> Result<bool, SecretError> {
        let name = name.clone();
        self.change(tenant, at, move |secrets| Ok(secrets.remove(&name, at))).await
    }
}

fn lines(all: &All) -> Lines {
    let of_tenant = |secrets: &TenantSecrets| {
        secrets.names().iter().map(|(name, entry)| (name.clone(), Line::of(entry))).collect()
    };
    all.iter().map(|(tenant, secrets)| (tenant.clone(), of_tenant(secrets))).collect()
}

impl Line {
    fn of(entry: &Entry) -> Self {
        let line = |secret: &Secret, retired_at| Self {
            value: Some(secret.value.reveal().to_owned()),
            origins: secret.origins.clone(),
            created_at: secret.created_at,
            retired_at,
            retired: vec![],
        };
        let retired = entry.retired.iter();
        let retired: Vec<_> = retired.map(|old| line(&old.secret, Some(old.at))).collect();
        let removed = || Self {
            value: None,
            origins: vec![],
            created_at: entry.retired.last().map_or(Timestamp::MIN, |old| old.at),
            retired_at: None,
            retired: vec![],
        };
        let now = entry.current.as_ref().map_or_else(removed, |secret| line(secret, None));
        Self { retired, ..now }
    }

    fn secret(
        value: String,
        origins: Vec<Origin>,
        created_at: Timestamp,
    ) -> anyhow::Result<Secret> {
        Ok(Secret { value: value.try_into()?, origins, created_at })
    }

    fn entry(self) -> anyhow::Result<Entry> {
        let secret = |value| Self::secret(value, self.origins, self.created_at);
        let current = self.value.map(secret).transpose()?;
        let mut retired = vec![];
        for line in self.retired {
            let (value, at) =
                line.value.zip(line.retired_at).context("a retired value is missing")?;
            let secret = Self::secret(value, line.origins, line.created_at)?;
            retired.push(Retired { secret, at });
        }
        Ok(Entry { current, retired })
    }
}

fn load(path: &Path) -> anyhow::Result<All> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(All::default()),
        Err(error) => return Err(error.into()),
    };
    privacy::check_mode(&file)?;
    let mut text = vec![];
    file.read_to_end(&mut text)?;
    // Only the position: serde's message would repeat the input, which may be a value.
    let lines: Lines = serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow::anyhow!("line {line}, column {column}: not in the format that this host writes")
    })?;
    let mut all = All::default();
    for (tenant, lines) in lines {
        for (name, line) in lines {
            let entry = line.entry().with_context(|| format!("`{name}`"))?;
            Arc::make_mut(all.entry(tenant.clone()).or_default()).restore(name, entry);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Secret {
        Secret {
            value: value.to_owned().try_into().expect("a value"),
            origins: vec!["https://*.example.com".parse().expect("an origin")],
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn names() -> (TenantName, SecretName) {
        (TenantName::default(), "KEY".parse().expect("a name"))
    }

    fn get(secrets: &SecretFile, tenant: &TenantName, name: &SecretName) -> Option<Secret> {
        secrets.of(tenant).expect("it is in memory").get(name).cloned()
    }

    #[tokio::test]
    async fn secrets_survive_a_restart_and_belong_to_one_tenant() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tenant, name) = names();
        let other: TenantName = "other".parse().expect("a name");
        let secrets = SecretFile::open(folder.path()).expect("a new file");
        assert!(secrets.set(&tenant, &name, secret("first-value")).await.expect("set"));
        assert!(!secrets.set(&tenant, &name, secret("other-value")).await.expect("set again"));
        let secrets = SecretFile::open(folder.path()).expect("the file");
        assert_eq!(get(&secrets, &tenant, &name), Some(secret("other-value")));
        assert_eq!((get(&secrets, &other, &name), secrets.list(&other).await), (None, Ok(vec![])));
        assert!(!secrets.remove(&other, &name, AT).await.expect("nothing to remove"));
        assert!(secrets.remove(&tenant, &name, AT).await.expect("removed"));
        let secrets = SecretFile::open(folder.path()).expect("the file");
        assert_eq!(secrets.list(&tenant).await, Ok(vec![]));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (tenant, name) = names();
        let secrets = SecretFile::open(folder.path()).expect("a new file");
        secrets.set(&tenant, &name, secret("first-value")).await.expect("set");
        let path = folder.path().join(FILE);
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("another mode");
        let refused = format!("{:#}", SecretFile::open(folder.path()).expect_err("too open"));
        assert!(refused.contains("644") && refused.contains("chmod 600"), "{refused}");
    }

    #[tokio::test]
    async fn errors_of_the_file_have_a_position_and_no_content() {
        let folder = tempfile::tempdir().expect("a folder");
        for wrong in [
            r#"{ "default": { "KEY": "s3cr3t-v4lue" } }"#,
            r#"{ "default": { "KEY": { "s3cr3t-v4lue": 1 } } }"#,
            r#"{ "default": { "KEY": { "value": "s3cr3t-v4lue", "origins": "s3cr3t-v4lue" } } }"#,
            r#"{ "default": { "s3cr3t-v4lue": {} } }"#,
            r#"{ "default": { "KEY": { "value": "s3cr3t-v4lue"#,
        ] {
            data_dir::write(&folder.path().join(FILE), wrong.as_bytes()).expect("a file");
            let error = SecretFile::open(folder.path()).expect_err(wrong);
            let text = format!("{error:#} {error:?}");
            assert!(!text.contains("s3cr3t"), "{text}");
            assert!(text.contains("secrets.json") && text.contains("line 1, column "), "{text}");
        }
    }

    fn known(secrets: &SecretFile, tenant: &TenantName) -> Vec<String> {
        let to = "http://api.example.com:81/".parse().expect("a URI");
        let known = secrets.of(tenant).expect("it is in memory").known_to(&to);
        known.iter().map(|value| value.reveal().to_owned()).collect()
    }

    #[tokio::test]
    async fn replaced_and_removed_values_are_masked_for_a_period() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tenant, name) = names();
        let open = || {
            let secrets = SecretFile::open(folder.path()).expect("the file");
            secrets.masking_retired(Duration::from_secs(60))
        };
        let secrets = open();
        let at = |second| Timestamp::from_second(second).expect("a time");
        let set = |value, second| Secret { created_at: at(second), ..secret(value) };
        secrets.set(&tenant, &name, set("first-value", 0)).await.expect("set");
        secrets.set(&tenant, &name, set("other-value", 10)).await.expect("set again");
        assert!(secrets.remove(&tenant, &name, at(20)).await.expect("removed"));
        let secrets = open();
        assert_eq!(secrets.list(&tenant).await, Ok(vec![]));
        assert_eq!(known(&secrets, &tenant), ["first-value", "other-value"]);
        assert_eq!(known(&secrets, &"other".parse().expect("a name")), Vec::<String>::new());
        let other = "OTHER".parse().expect("a name");
        secrets.set(&tenant, &other, set("third-value", 71)).await.expect("set");
        assert_eq!(known(&open(), &tenant), ["other-value", "third-value"]);
    }
}
