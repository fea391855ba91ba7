//! What plugins keep from one job to the next: keys and values in `values.db`, in the data directory.
//!
//! ```text
//! KeyValueCall::Set, Delete, Swap, Increment ─▶ writer thread: all that wait, in one COMMIT ─▶ answers
//! KeyValueCall::Get, Keys ───────────────────▶ read-only connections
//! ```
//!
//! Owns what is kept and its bounds; not who may keep anything, which the grant says. Invariants: what
//! was answered is on disk; each call happens entirely or not at all, also beside others; a plugin
//! sees what jobs of the same plugin and tenant kept, and nothing else; what a plugin keeps stays
//! within its grant, and what all keep within the bound of the host; on a disk with less free space than
//! its floor the file does not grow, and values are read, replaced and deleted all the same.

mod table;

use std::path::Path;
use std::sync::Arc;

use jobwright_core::grant::KeyValueGrant;
use jobwright_core::limits::show_bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::plugin::PluginName;
use jobwright_core::services::{
    KeyValueCall, KeyValueError, KeyValueReply, MAX_BUCKET_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES,
};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use rusqlite::Connection;

pub use self::table::ENTRY_BYTES;
use self::table::{Change, Ledger};
use crate::data_dir::Part;
use crate::disk::Floor;
use crate::shares::Shares;
use crate::shares::table::READS;
use crate::sqlite::open;
use crate::sqlite::readers::{LOOKUPS, Readers};
use crate::sqlite::writer::{Effect, Writer};

/// What the values of all plugins may take of the disk, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// All of them together.
    pub most_bytes: u64,
    /// The free space of the disk below which they do not grow.
    pub free_bytes: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Values {
    writer: Writer<Ledger>,
    readers: Arc<Readers>,
    reads: Shares,
}

impl Values {
    /// Opens or makes `values.db` in `directory`, which the caller has locked.
    ///
    /// # Errors
    /// With a reason a person can act on: it cannot be read or written, a newer version has, or it is
    /// lost.
    pub fn open(directory: &Path, bounds: Bounds) -> anyhow::Result<Self> {
        Part::Values.refuse_if_lost(directory)?;
        let path = directory.join("values.db");
        let floor = Floor::new(directory, bounds.free_bytes);
        let db = open::open(&path, table::STEPS)?;
        let ledger = Ledger::new(db, bounds.most_bytes, floor)?;
        Part::Values.note_in(directory);
        let readers = Arc::new(Readers::new(&path, LOOKUPS));
        let reads = Shares::new(&READS);
        Ok(Self { writer: Writer::start("values", ledger)?, readers, reads })
    }

    /// Does what a job of `plugin` calls for, as far as `grant` lets it.
    ///
    /// # Errors
    /// [`KeyValueError`]: there is no grant, no room, or the key or value cannot be taken; or the disk fails.
    pub async fn call(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        grant: Option<KeyValueGrant>,
        call: KeyValueCall,
    ) -> Result<KeyValueReply, KeyValueError> {
        let denied =
            || KeyValueError::Denied("the plugin is not granted to keep values".to_owned());
        let KeyValueGrant { bytes: most_bytes } = grant.ok_or_else(denied)?;
        check(&call)?;
        let owner = (tenant.clone(), plugin.clone());
        let change = match call {
            KeyValueCall::Open { .. } => return Ok(KeyValueReply::Done),
            KeyValueCall::Get { bucket, key } => {
                let query = move |db: &Connection| table::get(db, &owner, &bucket, &key);
                return self.read(tenant, query).await.map(KeyValueReply::Value);
            }
            KeyValueCall::Keys { bucket, after } => {
                let query =
                    move |db: &Connection| table::keys(db, &owner, &bucket, after.as_deref());
                return self
                    .read(tenant, query)
                    .await
                    .map(|(keys, more)| KeyValueReply::Keys { keys, more });
            }
            KeyValueCall::Set { bucket, key, value } => Change::Set { bucket, key, value },
            KeyValueCall::Delete { bucket, key } => Change::Delete { bucket, key },
            KeyValueCall::Swap { bucket, key, from, to } => Change::Swap { bucket, key, from, to },
            KeyValueCall::Increment { bucket, key, by, least } => {
                Change::Increment { bucket, key, by, least }
            }
        };
        let length = change.length();
        let step = move |ledger: &mut Ledger| ledger.change(&owner, most_bytes, change);
        self.writer.submit(Effect::Synced, length, step).await.map_err(failed)?
    }

    /// Removes all that jobs of `plugin` kept.
    ///
    /// # Errors
    /// [`KeyValueError::Failed`] if the disk fails.
    pub async fn remove(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
    ) -> Result<(), KeyValueError> {
        let owner = (tenant.clone(), plugin.clone());
        let step = move |ledger: &mut Ledger| ledger.remove(&owner);
        self.writer.submit(Effect::Synced, 0, step).await.map_err(failed)
    }

    /// All values that jobs of `plugin` kept, with their buckets and keys.
    ///
    /// # Errors
    /// [`KeyValueError::Failed`] if the disk fails.
    pub async fn entries(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
    ) -> Result<Vec<(String, String, Vec<u8>)>, KeyValueError> {
        let owner = (tenant.clone(), plugin.clone());
        self.read(tenant, move |db: &Connection| table::entries(db, &owner)).await
    }

    async fn read<A: Send + 'static>(
        &self,
        tenant: &TenantName,
        query: impl FnOnce(&Connection) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, KeyValueError> {
        let _turn = self.reads.of(tenant).acquire().await;
        self.readers.read(query).await.map_err(failed)
    }
}

/// The values that one attempt reaches: those of its plugin, with every refusal in its log.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// Where they are.
    pub values: Arc<Values>,
    /// Whose the plugin is.
    pub tenant: TenantName,
    /// The plugin.
    pub plugin: PluginName,
    /// How much it may keep, if it may.
    pub grant: Option<KeyValueGrant>,
    /// The log of the attempt.
    pub log: Arc<LogBuffer>,
}

impl Namespace {
    /// See [`Values::keep`].
    ///
    /// # Errors
    /// As it does.
    pub async fn call(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        let kept = self.values.call(&self.tenant, &self.plugin, self.grant, call).await;
        kept.inspect_err(|why| self.log.write(why.line().as_bytes()))
    }
}

/// Refuses what is too long, before it is passed on.
fn check(call: &KeyValueCall) -> Result<(), KeyValueError> {
    let (bucket, key, value) = match call {
        KeyValueCall::Open { bucket } => (bucket, None, None),
        KeyValueCall::Get { bucket, key }
        | KeyValueCall::Delete { bucket, key }
        | KeyValueCall::Increment { bucket, key, .. } => (bucket, Some(key), None),
        KeyValueCall::Set { bucket, key, value: to }
        | KeyValueCall::Swap { bucket, key, to, .. } => (bucket, Some(key), Some(to)),
        KeyValueCall::Keys { bucket, after } => (bucket, after.as_ref(), None),
    };
    for (what, length, most) in [
        ("name of the bucket", bucket.len(), MAX_BUCKET_BYTES),
        ("key", key.map_or(0, String::len), MAX_KEY_BYTES),
        ("value", value.map_or(0, |value| value.len()), MAX_VALUE_BYTES),
    ] {
        if length > most {
            let (length, most) = (show_bytes(length as u64), show_bytes(most as u64));
            return Err(KeyValueError::Refused(format!("the {what} has {length}: {most} at most")));
        }
    }
    Ok(())
}

fn failed(error: StoreError) -> KeyValueError {
    match error {
        StoreError::Unavailable { reason } => KeyValueError::Failed(reason),
        StoreError::Corrupt { what } => KeyValueError::Failed(what),
    }
}
