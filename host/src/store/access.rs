//! API keys and the audit log, in `access.db`.
//!
//! Keys are few and looked up at every request, so all of them are in memory too. Invariants: of a
//! bearer's token only the digest is kept; what was answered is on disk; an entry of the log is never
//! changed, and goes only when newer ones need its place.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::access::{AccessStore, ApiKey, AuditEntry};
use jobwright_core::clock::Timestamp;
use jobwright_core::plugin::Digest;
use jobwright_core::store::StoreError;
use rusqlite::{Connection, Row, params};

/// Entries that the audit log keeps: some hundred megabytes, years of an operator's work.
const MAX_ENTRIES: u64 = 1_000_000;

/// Entries and keys as JSON, because they are read as a whole and searched by nothing else.
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
}

impl SqliteAccess {
    /// Opens or makes `access.db` in `directory`.
    ///
    /// # Errors
    /// With a reason a person can act on, if it cannot be opened or read.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("access.db");
        let open = || -> anyhow::Result<Self> {
            let db = Connection::open(&path)?;
            db.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;",
            )?;
            db.execute_batch(TABLES)?;
            let keys = RwLock::new(read_keys(&db)?);
            Ok(Self { inner: Arc::new(Inner { db: Mutex::new(db), keys }) })
        };
        open().with_context(|| format!("cannot open the API keys and audit log {}", path.display()))
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

    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.work(move |inner| {
            let db = inner.db();
            db.execute("INSERT INTO audit (entry) VALUES (?1)", [serde_json::to_string(&entry)?])?;
            let last = db.last_insert_rowid().unsigned_abs();
            let oldest = last.saturating_sub(MAX_ENTRIES).cast_signed();
            db.execute("DELETE FROM audit WHERE id <= ?1", [oldest])?;
            Ok(())
        })
        .await
    }

    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let before = i64::try_from(before.unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
        self.work(move |inner| {
            let db = inner.db();
            let sql = "SELECT id, entry FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            let mut query = db.prepare_cached(sql)?;
            let mut rows = query.query(params![before, i64::try_from(most).unwrap_or(i64::MAX)])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.push(entry(row)?);
            }
            Ok(entries)
        })
        .await
    }
}

fn entry(row: &Row<'_>) -> anyhow::Result<AuditEntry> {
    let (id, text): (i64, String) = (row.get(0)?, row.get(1)?);
    let entry: AuditEntry = serde_json::from_str(&text)?;
    Ok(AuditEntry { id: id.unsigned_abs(), ..entry })
}
