//! The key-value store of plugins, whose values persist from one job to the next. It is the file `values.db`
//! in the data directory.
//!
//! ```text
//! KeyValueCall::Set, Delete, Swap, Increment ─▶ writer thread: waiting calls in one COMMIT ─▶ replies
//! KeyValueCall::Get, Keys ───────────────────▶ read-only connections
//! ```
//!
//! Owns the values and their bounds; the caller passes the grant. Invariants: a change is on disk before it is
//! acknowledged; each call is atomic, also with concurrent calls; a plugin sees only values of the same plugin
//! and tenant; the values of a plugin stay within its grant, and all values within the bound of the host; while
//! the disk has less free space than its floor, the file does not grow, but values can be read, replaced and
//! deleted.

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

use self::table::{Change, Table};
pub use self::table::{ENTRY_BYTES, Owner};
use crate::data_dir::Part;
use crate::disk::Floor;
use crate::shares::Shares;
use crate::shares::table::READS;
use crate::sqlite::open;
use crate::sqlite::readers::{LOOKUPS, Readers};
use crate::sqlite::writer::{Effect, Writer};

/// The bounds of the disk space of all values, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The maximum for all values together.
    pub most_bytes: u64,
    /// The floor: values do not grow while the disk has less free space.
    pub free_bytes: u64,
}

/// See the documentation of the module.
#[derive(Debug)]
pub struct Values {
    writer: Writer<Table>,
    readers: Arc<Readers>,
    reads: Shares,
}

impl Values {
    /// Opens or creates `values.db` in `directory`, which the caller has locked.
    ///
    /// # Errors
    /// If the file cannot be read or written, if a newer version wrote it, or if it is lost.
    pub fn open(directory: &Path, bounds: Bounds) -> anyhow::Result<Self> {
        Part::Values.refuse_if_lost(directory)?;
        let path = directory.join("values.db");
        let floor = Floor::new(directory, bounds.free_bytes);
        let db = open::open(&path, table::STEPS)?;
        let table = Table::new(db, bounds.most_bytes, floor)?;
        Part::Values.note_in(directory);
        let writer = Writer::start("values", &path, table)?;
        let (readers, reads) = (writer.readers(LOOKUPS), Shares::new(&READS));
        Ok(Self { writer, readers, reads })
    }

    /// Executes `call` of a job of `plugin`, within `grant`.
    ///
    /// # Errors
    /// [`KeyValueError`]: there is no grant or no space, the key or value is invalid, or the disk fails.
    pub async fn call(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        grant: Option<KeyValueGrant>,
        call: KeyValueCall,
    ) -> Result<KeyValueReply, KeyValueError> {
        let denied =
            || KeyValueError::Denied("the plugin is not granted a key-value store".to_owned());
        let KeyValueGrant { bytes: most_bytes } = grant.ok_or_else(denied)?;
        check(&call)?;
        let owner = Owner { tenant: tenant.clone(), plugin: plugin.clone() };
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
        let step = move |table: &mut Table| table.change(&owner, most_bytes, change);
        self.writer.submit(Effect::Synced, length, step).await.map_err(failed)?
    }

    /// Removes all values of `plugin`.
    ///
    /// # Errors
    /// [`KeyValueError::Failed`] if the disk fails.
    pub async fn remove(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
    ) -> Result<(), KeyValueError> {
        let owner = Owner { tenant: tenant.clone(), plugin: plugin.clone() };
        let step = move |table: &mut Table| table.remove(&owner);
        self.writer.submit(Effect::Synced, 0, step).await.map_err(failed)
    }

    /// All values of `plugin`, with their buckets and keys.
    ///
    /// # Errors
    /// [`KeyValueError::Failed`] if the disk fails.
    pub async fn entries(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
    ) -> Result<Vec<(String, String, Vec<u8>)>, KeyValueError> {
        let owner = Owner { tenant: tenant.clone(), plugin: plugin.clone() };
        self.read(tenant, move |db: &Connection| table::entries(db, &owner)).await
    }

    async fn read<A: Send + 'static>(
        &self,
        tenant: &TenantName,
        query: impl FnOnce(&Connection) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, KeyValueError> {
        let _permit = self.reads.of(tenant).acquire().await;
        self.readers.read(query).await.map_err(failed)
    }
}

/// The values of the plugin of one attempt. Refusals are logged to the log of the attempt.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// The key-value store.
    pub values: Arc<Values>,
    /// The tenant of the plugin.
    pub tenant: TenantName,
    /// The plugin.
    pub plugin: PluginName,
    /// The plugin's grant, if it has one.
    pub grant: Option<KeyValueGrant>,
    /// The log of the attempt.
    pub log: Arc<LogBuffer>,
}

impl Namespace {
    /// See [`Values::call`].
    ///
    /// # Errors
    /// Those of [`Values::call`], which are logged too.
    pub async fn call(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        let reply = self.values.call(&self.tenant, &self.plugin, self.grant, call).await;
        reply.inspect_err(|error| self.log.write(error.line().as_bytes()))
    }
}

/// Checks the lengths of the bucket, the key and the value.
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
            return Err(KeyValueError::Refused(format!(
                "the {what} has {length}, more than the maximum of {most}"
            )));
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
