//! The file of secrets: all of all tenants, in one file that its owner alone reads, in memory too.
//!
//! Invariants: what was answered is on disk; a value is written to that file and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::{Origin, SecretName};
use jobwright_core::secret::{MAX_SECRETS, Secret, SecretError, SecretStore};
use jobwright_core::tenant::TenantName;
use serde::{Deserialize, Serialize};

use crate::data_dir;

/// The name of the file in the data directory.
const FILE: &str = "secrets.json";

type All = BTreeMap<TenantName, BTreeMap<SecretName, Secret>>;

/// See the module's text.
#[derive(Debug, Clone)]
pub struct SecretFile {
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    path: PathBuf,
    all: RwLock<All>,
    /// Held over each change, from reading what there is to having written what there is then.
    changing: Mutex<()>,
}

/// A secret as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    value: String,
    origins: Vec<Origin>,
    created_at: Timestamp,
}

type Lines = BTreeMap<TenantName, BTreeMap<SecretName, Line>>;

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl SecretFile {
    /// Opens the file in the data directory, which the caller has locked; none is one without secrets.
    ///
    /// # Errors
    /// With a reason a person can act on, if it cannot be read, or others can read it too.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let all = load(&path)
            .with_context(|| format!("the secrets in {} cannot be used", path.display()))?;
        let shelf = Shelf { path, all: RwLock::new(all), changing: Mutex::default() };
        Ok(Self { shelf: Arc::new(shelf) })
    }

    /// Works on a blocking thread, where it is done to its end even if the caller goes away.
    async fn change(
        &self,
        change: impl FnOnce(&mut All) -> Result<bool, SecretError> + Send + 'static,
    ) -> Result<bool, SecretError> {
        let shelf = self.shelf.clone();
        let changing = tokio::task::spawn_blocking(move || shelf.change(change));
        changing.await.unwrap_or_else(|broken| Err(io::Error::from(broken).into()))
    }
}

impl Shelf {
    fn all(&self) -> std::sync::RwLockReadGuard<'_, All> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what `change` makes of the secrets, then shows it.
    fn change(
        &self,
        change: impl FnOnce(&mut All) -> Result<bool, SecretError>,
    ) -> Result<bool, SecretError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.all().clone();
        let answer = change(&mut all)?;
        let json = serde_json::to_vec_pretty(&lines(&all)).map_err(io::Error::from)?;
        data_dir::write(&self.path, &json)?;
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(answer)
    }
}

#[async_trait]
impl SecretStore for SecretFile {
    fn get(&self, tenant: &TenantName, name: &SecretName) -> Option<Secret> {
        self.shelf.all().get(tenant)?.get(name).cloned()
    }

    fn list(&self, tenant: &TenantName) -> Vec<(SecretName, Secret)> {
        let all = self.shelf.all();
        let of_tenant = all.get(tenant).into_iter().flatten();
        of_tenant.map(|(name, secret)| (name.clone(), secret.clone())).collect()
    }

    async fn set(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        secret: Secret,
    ) -> Result<bool, SecretError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.change(move |all| {
            let secrets = all.entry(tenant).or_default();
            if secrets.len() >= MAX_SECRETS && !secrets.contains_key(&name) {
                return Err(SecretError::Full);
            }
            Ok(secrets.insert(name, secret).is_none())
        })
        .await
    }

    async fn remove(&self, tenant: &TenantName, name: &SecretName) -> Result<bool, SecretError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.change(move |all| {
            let secrets = all.entry(tenant.clone()).or_default();
            let removed = secrets.remove(&name).is_some();
            if secrets.is_empty() {
                all.remove(&tenant);
            }
            Ok(removed)
        })
        .await
    }
}

fn lines(all: &All) -> Lines {
    let line = |secret: &Secret| Line {
        value: secret.value.reveal().to_owned(),
        origins: secret.origins.clone(),
        created_at: secret.created_at,
    };
    let of_tenant = |secrets: &BTreeMap<SecretName, Secret>| {
        secrets.iter().map(|(name, secret)| (name.clone(), line(secret))).collect()
    };
    all.iter().map(|(tenant, secrets)| (tenant.clone(), of_tenant(secrets))).collect()
}

fn load(path: &Path) -> anyhow::Result<All> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(All::default()),
        Err(error) => return Err(error.into()),
    };
    check_mode(path)?;
    // Where and not what: a message would repeat what it cannot read, which may be a value.
    let lines: Lines = serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow::anyhow!("line {line}, column {column}: not as this host writes it")
    })?;
    let mut all = All::default();
    for (tenant, lines) in lines {
        for (name, Line { value, origins, created_at }) in lines {
            let value = value.try_into().with_context(|| format!("`{name}`"))?;
            let secret = Secret { value, origins, created_at };
            all.entry(tenant.clone()).or_default().insert(name, secret);
        }
    }
    Ok(all)
}

/// Refuses a file that others read: who copied it there meant otherwise.
#[cfg(unix)]
fn check_mode(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "its mode is {mode:o}, so others than its owner can read it: chmod 600 it"
    );
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> anyhow::Result<()> {
    Ok(())
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

    fn names() -> (TenantName, SecretName) {
        (TenantName::default(), "KEY".parse().expect("a name"))
    }

    #[tokio::test]
    async fn what_was_set_is_there_after_a_restart_and_of_its_tenant_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tenant, name) = names();
        let other: TenantName = "other".parse().expect("a name");
        let secrets = SecretFile::open(folder.path()).expect("a new file");
        assert!(secrets.set(&tenant, &name, secret("first-value")).await.expect("set"));
        assert!(!secrets.set(&tenant, &name, secret("other-value")).await.expect("set again"));
        let secrets = SecretFile::open(folder.path()).expect("the file");
        assert_eq!(secrets.get(&tenant, &name), Some(secret("other-value")));
        assert_eq!((secrets.get(&other, &name), secrets.list(&other)), (None, vec![]));
        assert!(!secrets.remove(&other, &name).await.expect("nothing to remove"));
        assert!(secrets.remove(&tenant, &name).await.expect("removed"));
        let secrets = SecretFile::open(folder.path()).expect("the file");
        assert_eq!(secrets.list(&tenant), vec![]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_else_can_read_the_file() {
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
    async fn what_is_wrong_with_the_file_is_said_without_repeating_it() {
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
            let told = format!("{error:#} {error:?}");
            assert!(!told.contains("s3cr3t"), "{told}");
            assert!(told.contains("secrets.json") && told.contains("line 1, column "), "{told}");
        }
    }

    #[tokio::test]
    async fn a_tenant_keeps_only_so_many() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tenant, name) = names();
        let secrets = SecretFile::open(folder.path()).expect("a new file");
        let all = (0..MAX_SECRETS)
            .map(|n| (format!("S{n}").parse().expect("a name"), secret("12345678")));
        *secrets.shelf.all.write().expect("no panic") = [(tenant.clone(), all.collect())].into();
        let full = secrets.set(&tenant, &name, secret("first-value")).await;
        assert!(matches!(full, Err(SecretError::Full)), "{full:?}");
        let there = "S0".parse().expect("a name");
        assert!(!secrets.set(&tenant, &there, secret("first-value")).await.expect("it was there"));
    }
}
