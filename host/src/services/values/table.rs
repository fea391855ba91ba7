//! The tables of `values.db`, and the statements on them.
//!
//! Invariants: the bytes recorded for a space are the sum of its entries, and change in the same commit; a
//! refused change has changed nothing.

use bytes::Bytes;
use jobwright_core::capacity::HeldBytes;
use jobwright_core::limits::show_bytes;
use jobwright_core::name::shorten;
use jobwright_core::plugin::{Digest, PluginName};
use jobwright_core::services::{KeyValueError, KeyValueReply};
use jobwright_core::tenant::{Budget, Full, TenantName};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::disk::Floor;
use crate::sqlite::writer::State;
use crate::sqlite::{columns, pages};

/// The bytes that an entry counts in addition to its bucket, key and value: the approximate overhead of a row.
pub const ENTRY_BYTES: u64 = 64;

/// The steps of the schema. A space has all values of one plugin.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE space (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    plugin TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (tenant, plugin)
);
CREATE TABLE entry (
    space INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, bucket, key)
);
"];

/// The maximum number of keys in one reply: with the longest keys, 1 MiB.
const PAGE: usize = 1000;

/// The maximum growth of the file by a new entry in addition to its bytes: pages of the table and its index
/// that are not full.
const PAGES_BYTES: u64 = 64 << 10;

/// The plugin to which values belong.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The tenant of the plugin.
    pub tenant: TenantName,
    /// The plugin.
    pub plugin: PluginName,
}

/// A change of a value.
#[derive(Debug)]
pub(super) enum Change {
    Set { bucket: String, key: String, value: Bytes },
    Delete { bucket: String, key: String },
    Swap { bucket: String, key: String, from: Option<Digest>, to: Bytes },
    Increment { bucket: String, key: String, by: i64, least: i64 },
}

impl Change {
    /// The length of the value that it writes, in bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Set { value: to, .. } | Self::Swap { to, .. } => to.len(),
            Self::Delete { .. } | Self::Increment { .. } => 0,
        }
    }
}

/// An entry, by its key, and the sizes of its space.
#[derive(Debug)]
struct Entry<'a> {
    space: i64,
    bucket: &'a str,
    key: &'a str,
    /// The bytes of all entries of the space.
    space_bytes: u64,
    /// The maximum for the space.
    max_space_bytes: u64,
    tenant: &'a TenantName,
}

/// The tables, as the writer changes them.
#[derive(Debug)]
pub(super) struct Table {
    db: Connection,
    /// The bytes of all spaces, by tenant.
    held: HeldBytes,
    max_bytes: u64,
    floor: Floor,
    /// Whether the disk had less free space than the floor at the last change.
    is_low: bool,
}

impl State for Table {
    fn connection(&self) -> &Connection {
        &self.db
    }

    fn is_disk_low(&mut self) -> bool {
        std::mem::take(&mut self.is_low)
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        self.held = held(&self.db)?;
        Ok(())
    }
}

/// A result for the guest. The outer error is one of the database.
type GuestResult<A> = rusqlite::Result<Result<A, KeyValueError>>;

impl Table {
    /// The tables of a database that has all [`STEPS`].
    pub(super) fn new(db: Connection, max_bytes: u64, floor: Floor) -> rusqlite::Result<Self> {
        Ok(Self { held: held(&db)?, db, max_bytes, floor, is_low: false })
    }

    /// Applies a change of a plugin whose values may have `max_space_bytes`.
    pub(super) fn change(
        &mut self,
        owner: &Owner,
        max_space_bytes: u64,
        change: Change,
    ) -> GuestResult<KeyValueReply> {
        self.is_low = self.floor.is_reached();
        let Space { id: space, bytes: space_bytes } = self.space(owner)?;
        let tenant = &owner.tenant;
        let entry =
            |bucket, key| Entry { space, bucket, key, space_bytes, max_space_bytes, tenant };
        match change {
            Change::Set { bucket, key, value } => {
                let written = self.write(&entry(&bucket, &key), &value)?;
                Ok(written.map(|()| KeyValueReply::Done))
            }
            Change::Delete { bucket, key } => {
                self.delete(&entry(&bucket, &key))?;
                Ok(Ok(KeyValueReply::Done))
            }
            Change::Swap { bucket, key, from, to } => {
                let entry = entry(&bucket, &key);
                if self.value(&entry)?.map(|value| Digest::of(&value)) != from {
                    return Ok(Ok(KeyValueReply::Swapped(false)));
                }
                Ok(self.write(&entry, &to)?.map(|()| KeyValueReply::Swapped(true)))
            }
            Change::Increment { bucket, key, by, least } => {
                self.increment(&entry(&bucket, &key), by, least)
            }
        }
    }

    /// Removes a space with all its entries.
    pub(super) fn remove(&mut self, owner: &Owner) -> rusqlite::Result<()> {
        let Some(space) = find(&self.db, owner)? else { return Ok(()) };
        self.db.prepare_cached("DELETE FROM entry WHERE space = ?1")?.execute([space.id])?;
        self.db.prepare_cached("DELETE FROM space WHERE id = ?1")?.execute([space.id])?;
        self.held.remove(&owner.tenant, space.bytes);
        Ok(())
    }

    /// The space of `owner`, which is created if it does not exist.
    fn space(&self, owner: &Owner) -> rusqlite::Result<Space> {
        if let Some(found) = find(&self.db, owner)? {
            return Ok(found);
        }
        let Owner { tenant, plugin } = owner;
        let sql = "INSERT INTO space (tenant, plugin, bytes) VALUES (?1, ?2, 0)";
        self.db.prepare_cached(sql)?.execute([tenant.as_str(), plugin.as_str()])?;
        Ok(Space { id: self.db.last_insert_rowid(), bytes: 0 })
    }

    fn value(&self, entry: &Entry<'_>) -> rusqlite::Result<Option<Vec<u8>>> {
        let sql = "SELECT value FROM entry WHERE space = ?1 AND bucket = ?2 AND key = ?3";
        let Entry { space, bucket, key, .. } = entry;
        let value = |row: &rusqlite::Row<'_>| row.get(0);
        self.db.prepare_cached(sql)?.query_row(params![space, bucket, key], value).optional()
    }

    /// Adds `by` to a number, unless the sum is below `least`.
    fn increment(&mut self, entry: &Entry<'_>, by: i64, least: i64) -> GuestResult<KeyValueReply> {
        let key = shorten(entry.key);
        let refused = |why: String| Ok(Err(KeyValueError::Refused(why)));
        let number = match self.value(entry)? {
            None => 0,
            Some(value) => match std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok()) {
                Some(number) => number,
                None => return refused(format!("the value of `{key}` is not a whole number")),
            },
        };
        let Some(sum) = i64::checked_add(number, by).filter(|sum| *sum >= least) else {
            return refused(format!(
                "the value of `{key}` is {number}: adding {by} is out of range"
            ));
        };
        let written = self.write(entry, sum.to_string().as_bytes())?;
        Ok(written.map(|()| KeyValueReply::Number(sum)))
    }

    /// Sets a value, if the bounds allow it.
    fn write(&mut self, entry: &Entry<'_>, value: &[u8]) -> GuestResult<()> {
        let before = self.bytes_of(entry)?;
        let after = cost(entry, value.len() as u64);
        let refusal = match self.over_bound(entry, before, after) {
            None => self.short_of_disk(before, after)?,
            over => over,
        };
        if let Some(why) = refusal {
            return Ok(Err(KeyValueError::Refused(why)));
        }
        let sql = "INSERT INTO entry (space, bucket, key, value) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET value = excluded.value";
        let row = params![entry.space, entry.bucket, entry.key, value];
        self.db.prepare_cached(sql)?.execute(row)?;
        self.held.remove(entry.tenant, before);
        self.held.add(entry.tenant, after);
        self.record_bytes(entry.space, entry.space_bytes.saturating_sub(before) + after).map(Ok)
    }

    /// The error message if a bound does not allow an entry to change from `before` to `after` bytes.
    fn over_bound(&self, entry: &Entry<'_>, before: u64, after: u64) -> Option<String> {
        let space = entry.space_bytes.saturating_sub(before) + after;
        let all = self.held.bytes().saturating_sub(before) + after;
        // A plugin over its bound, whose grant has become smaller, may still shrink its values.
        for (owner, bytes, max) in
            [("the plugin", space, entry.max_space_bytes), ("all plugins", all, self.max_bytes)]
        {
            if after > before && bytes > max {
                let (bytes, max) = (show_bytes(bytes), show_bytes(max));
                return Some(format!(
                    "the values of {owner} would take {bytes}, more than the maximum of {max}"
                ));
            }
        }
        let budget = Budget { all: self.max_bytes, weight: Budget::KEPT };
        let own = self.held.of(entry.tenant);
        let more = after.saturating_sub(before);
        (budget.admits(self.held.bytes(), own, more) == Err(Full::Tenant)).then(|| {
            let own = show_bytes(own);
            format!(
                "the values of all plugins of the tenant take {own}, its share of the host's maximum"
            )
        })
    }

    /// The error message if an entry cannot grow from `before` to `after` bytes because the disk is below its
    /// floor and the file would grow. Free pages of the file are used first.
    fn short_of_disk(&self, before: u64, after: u64) -> rusqlite::Result<Option<String>> {
        if !self.is_low || after <= before {
            return Ok(None);
        }
        if pages::free_bytes(&self.db)? >= after + PAGES_BYTES {
            return Ok(None);
        }
        let [free, least] = [self.floor.free_bytes(), self.floor.least_bytes()].map(show_bytes);
        Ok(Some(format!(
            "the disk under the data directory has {free} of free space, less than the floor of {least} \
             (`disk.free_bytes`): until there is more, values can be read, deleted, and replaced by \
             values that are not longer"
        )))
    }

    fn delete(&mut self, entry: &Entry<'_>) -> rusqlite::Result<()> {
        let before = self.bytes_of(entry)?;
        let sql = "DELETE FROM entry WHERE space = ?1 AND bucket = ?2 AND key = ?3";
        let row = params![entry.space, entry.bucket, entry.key];
        if self.db.prepare_cached(sql)?.execute(row)? == 0 {
            return Ok(());
        }
        let space = entry.space_bytes.saturating_sub(before);
        self.held.remove(entry.tenant, before);
        self.record_bytes(entry.space, space)
    }

    /// The bytes that an entry counts; 0 if it does not exist.
    fn bytes_of(&self, entry: &Entry<'_>) -> rusqlite::Result<u64> {
        let sql = "SELECT length(value) FROM entry WHERE space = ?1 AND bucket = ?2 AND key = ?3";
        let row = params![entry.space, entry.bucket, entry.key];
        let length = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0).map(i64::unsigned_abs);
        let found = self.db.prepare_cached(sql)?.query_row(row, length).optional()?;
        Ok(found.map_or(0, |length| cost(entry, length)))
    }

    /// Records the bytes of a space.
    fn record_bytes(&self, space: i64, bytes: u64) -> rusqlite::Result<()> {
        let sql = "UPDATE space SET bytes = ?2 WHERE id = ?1";
        self.db.prepare_cached(sql)?.execute(params![space, bytes.cast_signed()]).map(drop)
    }
}

/// The bytes that an entry with a value of `length` bytes counts.
fn cost(entry: &Entry<'_>, length: u64) -> u64 {
    (entry.bucket.len() + entry.key.len()) as u64 + length + ENTRY_BYTES
}

/// The bytes of all spaces, by tenant.
fn held(db: &Connection) -> rusqlite::Result<HeldBytes> {
    let sql = "SELECT tenant, sum(bytes) FROM space GROUP BY tenant";
    let share = |row: &rusqlite::Row<'_>| {
        Ok((columns::tenant(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    };
    db.prepare(sql)?.query_map([], share)?.collect()
}

/// A row of `space`.
struct Space {
    id: i64,
    bytes: u64,
}

/// The space of `owner`, if it has one.
fn find(db: &Connection, Owner { tenant, plugin }: &Owner) -> rusqlite::Result<Option<Space>> {
    let sql = "SELECT id, bytes FROM space WHERE tenant = ?1 AND plugin = ?2";
    let found = |row: &rusqlite::Row<'_>| {
        Ok(Space { id: row.get(0)?, bytes: row.get::<_, i64>(1)?.unsigned_abs() })
    };
    db.prepare_cached(sql)?.query_row([tenant.as_str(), plugin.as_str()], found).optional()
}

/// The value of a key.
pub(super) fn get(
    db: &Connection,
    Owner { tenant, plugin }: &Owner,
    bucket: &str,
    key: &str,
) -> rusqlite::Result<Option<Bytes>> {
    let sql = "SELECT value FROM entry WHERE bucket = ?3 AND key = ?4 AND space =
                 (SELECT id FROM space WHERE tenant = ?1 AND plugin = ?2)";
    let row = params![tenant.as_str(), plugin.as_str(), bucket, key];
    let value = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0).map(Bytes::from);
    db.prepare_cached(sql)?.query_row(row, value).optional()
}

/// A page of keys, and whether there are more.
pub(super) fn keys(
    db: &Connection,
    Owner { tenant, plugin }: &Owner,
    bucket: &str,
    after: Option<&str>,
) -> rusqlite::Result<(Vec<String>, bool)> {
    let from = if after.is_some() { ">" } else { ">=" };
    let sql = format!(
        "SELECT key FROM entry WHERE bucket = ?3 AND key {from} ?4 AND space =
           (SELECT id FROM space WHERE tenant = ?1 AND plugin = ?2)
         ORDER BY key LIMIT ?5"
    );
    let row = params![
        tenant.as_str(),
        plugin.as_str(),
        bucket,
        after.unwrap_or_default(),
        PAGE as i64 + 1
    ];
    let mut statement = db.prepare_cached(&sql)?;
    let mut keys = statement.query_map(row, |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    let more = keys.len() > PAGE;
    keys.truncate(PAGE);
    Ok((keys, more))
}

/// All entries of a space: bucket, key and value.
pub(super) fn entries(
    db: &Connection,
    Owner { tenant, plugin }: &Owner,
) -> rusqlite::Result<Vec<(String, String, Vec<u8>)>> {
    let sql = "SELECT bucket, key, value FROM entry WHERE space =
                 (SELECT id FROM space WHERE tenant = ?1 AND plugin = ?2)
               ORDER BY bucket, key";
    let entry = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let owner = params![tenant.as_str(), plugin.as_str()];
    db.prepare_cached(sql)?.query_map(owner, entry)?.collect()
}
