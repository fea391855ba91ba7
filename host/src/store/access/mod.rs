//! API keys and the audit log, in `access.db`.
//!
//! Keys are few and looked up at every request, so all of them are in memory too. Invariants: only
//! the digest of a bearer's token is stored; a change is on disk when it is answered. The log is in
//! `log`.

mod log;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::Context as _;
use async_trait::async_trait;
use jobwright_core::access::{AccessStore, Act, ApiKey, AuditEntry, Proof};
use jobwright_core::plugin::Digest;
use jobwright_core::store::StoreError;
use rusqlite::{Connection, params};

use self::log::Bounds;
use crate::data_dir::Part;
use crate::sqlite::columns::{self, to_json};
use crate::sqlite::open;
use crate::sqlite::readers::{LOOKUPS, Readers};
use crate::sqlite::writer::{Effect, State, Writer};

/// The schema steps: never edited, only appended to.
const STEPS: &[&str] = &[TABLES, log::SHARES];

/// Entries and keys as JSON, because they are read as a whole and searched by nothing else. They may be
/// there already: hosts have made them before they counted steps.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS key (id TEXT PRIMARY KEY, token BLOB NOT NULL UNIQUE, key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL);
";

/// See the documentation of the module.
#[derive(Debug, Clone)]
pub struct SqliteAccess {
    inner: Arc<Inner>,
}

/// By the digest of the bearer's token.
type Keys = Arc<RwLock<KeysByToken>>;

type KeysByToken = HashMap<Digest, Arc<ApiKey>>;

#[derive(Debug)]
struct Inner {
    writer: Writer<Database>,
    readers: Arc<Readers>,
    keys: Keys,
    directory: PathBuf,
}

/// The writer's state: decisions that depend on keys are made here, in the order of the log.
#[derive(Debug)]
struct Database {
    db: Connection,
    keys: Keys,
    bounds: Bounds,
}

impl State for Database {
    fn connection(&self) -> &Connection {
        &self.db
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        let keys = read_keys(&self.db)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
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
        let db = open::open(&path, STEPS)?;
        let keys = read_keys(&db)
            .with_context(|| format!("cannot read the API keys in {}", path.display()))?;
        let keys: Keys = Arc::new(RwLock::new(keys));
        let writer = Writer::start("access", &path, Database { db, keys: keys.clone(), bounds })?;
        let (readers, directory) = (writer.readers(LOOKUPS), directory.to_owned());
        Ok(Self { inner: Arc::new(Inner { writer, readers, keys, directory }) })
    }

    /// Changes the file; the change is on disk when it is answered.
    async fn change<A: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Database) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        self.inner.writer.submit(Effect::Synced, 0, change).await
    }
}

impl Inner {
    fn keys(&self) -> RwLockReadGuard<'_, KeysByToken> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    fn keys(&self) -> RwLockWriteGuard<'_, KeysByToken> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, token: Digest, key: ApiKey) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO key VALUES (?1, ?2, ?3)";
        self.db.execute(sql, params![key.id, token.as_bytes(), to_json(&key)?])?;
        self.keys().insert(token, Arc::new(key));
        Ok(())
    }

    /// Adds an entry, if something still lets its actor act; returns its number.
    fn record(&self, act: &Act) -> rusqlite::Result<Option<u64>> {
        let holds = match &act.proof {
            Proof::File => true,
            Proof::Open => self.keys().is_empty(),
            Proof::Key(token) => {
                self.keys().get(token).is_some_and(|key| key.is_valid(act.entry.at))
            }
        };
        let record = || log::record(&self.db, &act.entry, &act.share, self.bounds);
        holds.then(record).transpose()
    }

    /// Revokes a key, after `act` was recorded.
    fn revoke(&self, id: &str, act: &Act) -> rusqlite::Result<Option<ApiKey>> {
        let found =
            self.keys().iter().find(|(_, key)| key.id == id).map(|(t, k)| (*t, ApiKey::clone(k)));
        let Some((token, mut key)) = found else { return Ok(None) };
        if self.record(act)?.is_none() {
            return Ok(None);
        }
        key.revoked_at = key.revoked_at.or(Some(act.entry.at));
        self.put(token, key.clone())?;
        Ok(Some(key))
    }

    fn forget(&self, id: &str) -> rusqlite::Result<()> {
        self.db.execute("DELETE FROM key WHERE id = ?1", [id])?;
        self.keys().retain(|_, key| key.id != id);
        Ok(())
    }
}

fn read_keys(db: &Connection) -> rusqlite::Result<KeysByToken> {
    let mut keys = HashMap::new();
    let mut query = db.prepare("SELECT token, key FROM key")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let token: [u8; 32] = row.get(0)?;
        keys.insert(Digest::from_bytes(token), Arc::new(columns::json(row, 1)?));
    }
    Ok(keys)
}

#[async_trait]
impl AccessStore for SqliteAccess {
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let mut keys: Vec<ApiKey> = self.inner.keys().values().map(|key| (**key).clone()).collect();
        keys.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    fn has_keys(&self) -> Result<bool, StoreError> {
        Ok(!self.inner.keys().is_empty())
    }

    fn bearer(&self, token: &Digest) -> Result<Option<Arc<ApiKey>>, StoreError> {
        Ok(self.inner.keys().get(token).cloned())
    }

    async fn add_key(&self, key: ApiKey, token: Digest) -> Result<(), StoreError> {
        self.change(move |access| access.put(token, key)).await?;
        // Not before: a host that finds the mark and no key does not start without keys. One that is
        // stopped here finds the key, and sets the mark then.
        let directory = self.inner.directory.clone();
        let noting = tokio::task::spawn_blocking(move || Part::Keys.note_in(&directory));
        // A failure is logged there.
        let _ = noting.await;
        Ok(())
    }

    async fn revoke_key(&self, id: &str, act: Act) -> Result<Option<ApiKey>, StoreError> {
        let id = id.to_owned();
        self.change(move |access| access.revoke(&id, &act)).await
    }

    async fn forget_key(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.change(move |access| access.forget(&id)).await
    }

    async fn record(&self, act: Act) -> Result<Option<u64>, StoreError> {
        self.change(move |access| access.record(&act)).await
    }

    async fn complete(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.change(move |access| log::complete(&access.db, &entry)).await
    }

    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.readers.read(move |db| log::read(db, before, most)).await
    }
}
