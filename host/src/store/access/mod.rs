//! API keys and the audit log, in `access.db`.
//!
//! Keys are few and looked up at every request, so all of them are in memory too. Invariants: of a
//! bearer's token only the digest is kept; what was answered is on disk. The log is in `log`.

mod log;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::access::{AccessStore, ApiKey, AuditEntry, AuditShare};
use jobwright_core::clock::Timestamp;
use jobwright_core::plugin::Digest;
use jobwright_core::store::StoreError;
use rusqlite::{Connection, params};

use self::log::Bounds;
use super::sqlite::schema;

/// What makes the tables, and what changed them since: never edited, only added to.
const STEPS: &[&str] = &[TABLES, log::SHARES];

/// Entries and keys as JSON, because they are read as a whole and searched by nothing else. They may be
/// there already: hosts have made them before they counted steps.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS key (id TEXT PRIMARY KEY, token BLOB NOT NULL UNIQUE, key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL);
";

/// See the module's text.
#[derive(Debug, Clone)]
pub struct SqliteAccess {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Mutex<Connection>,
    keys: RwLock<HashMap<Digest, ApiKey>>,
    bounds: Bounds,
}

impl SqliteAccess {
    /// Opens or makes `access.db` in `directory`.
    ///
    /// # Errors
    /// With a reason a person can act on, if it cannot be opened or read.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        Self::bounded(directory, Bounds::default())
    }

    fn bounded(directory: &Path, bounds: Bounds) -> anyhow::Result<Self> {
        let path = directory.join("access.db");
        let db = schema::open(&path, STEPS)?;
        let keys = read_keys(&db)
            .with_context(|| format!("cannot read the API keys in {}", path.display()))?;
        let (db, keys) = (Mutex::new(db), RwLock::new(keys));
        Ok(Self { inner: Arc::new(Inner { db, keys, bounds }) })
    }

    /// Changes or reads the file, on a blocking thread.
    async fn work<A: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> anyhow::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(anyhow::Error::from)
            .flatten()
            .map_err(|error| StoreError::Unavailable { reason: format!("{error:#}") })
    }
}

impl Inner {
    fn db(&self) -> MutexGuard<'_, Connection> {
        // Every change is one statement or one transaction.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> RwLockReadGuard<'_, HashMap<Digest, ApiKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, token: Digest, key: ApiKey) -> anyhow::Result<()> {
        let sql = "INSERT OR REPLACE INTO key VALUES (?1, ?2, ?3)";
        let row = params![key.id, token.as_bytes(), serde_json::to_string(&key)?];
        self.db().execute(sql, row)?;
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(token, key);
        Ok(())
    }
}

fn read_keys(db: &Connection) -> anyhow::Result<HashMap<Digest, ApiKey>> {
    let mut keys = HashMap::new();
    let mut query = db.prepare("SELECT token, key FROM key")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let token: [u8; 32] = row.get(0)?;
        let key: String = row.get(1)?;
        keys.insert(Digest::from_bytes(token), serde_json::from_str(&key)?);
    }
    Ok(keys)
}

#[async_trait]
impl AccessStore for SqliteAccess {
    fn keys(&self) -> Vec<ApiKey> {
        let mut keys: Vec<ApiKey> = self.inner.keys().values().cloned().collect();
        keys.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        keys
    }

    fn has_keys(&self) -> bool {
        !self.inner.keys().is_empty()
    }

    fn bearer(&self, token: &Digest) -> Option<ApiKey> {
        self.inner.keys().get(token).cloned()
    }

    async fn add_key(&self, key: ApiKey, token: Digest) -> Result<(), StoreError> {
        self.work(move |inner| inner.put(token, key)).await
    }

    async fn revoke_key(&self, id: &str, now: Timestamp) -> Result<Option<ApiKey>, StoreError> {
        let id = id.to_owned();
        self.work(move |inner| {
            let found =
                inner.keys().iter().find(|(_, key)| key.id == id).map(|(t, k)| (*t, k.clone()));
            let Some((token, mut key)) = found else { return Ok(None) };
            key.revoked_at = key.revoked_at.or(Some(now));
            inner.put(token, key.clone())?;
            Ok(Some(key))
        })
        .await
    }

    async fn forget_key(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.work(move |inner| {
            inner.db().execute("DELETE FROM key WHERE id = ?1", [&id])?;
            let mut keys = inner.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.retain(|_, key| key.id != id);
            Ok(())
        })
        .await
    }

    async fn record(&self, entry: AuditEntry, share: AuditShare) -> Result<(), StoreError> {
        self.work(move |inner| log::record(&mut inner.db(), &entry, &share, inner.bounds)).await
    }

    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.work(move |inner| log::read(&inner.db(), before, most)).await
    }
}
