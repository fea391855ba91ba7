//! The tables of `values.db`, and the statements on them.
//!
//! Invariants: what a space is said to hold is the sum of its entries, changed in the same commit; a
//! change that is refused has changed nothing.

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

/// What an entry counts beside its bucket, key and value, in bytes: about what its row takes.
pub const ENTRY_BYTES: u64 = 64;

/// The tables, in the steps in which they came to be. A space is all that a plugin keeps.
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

/// Keys on one page: some of it are a fair answer to one call.
const PAGE: usize = 1000;

/// What a new entry takes of the file beside its bytes, at most: pages that are not full, of the table and
/// its index.
const PAGES_BYTES: u64 = 64 << 10;

/// Whose values they are.
pub(super) type Owner = (TenantName, PluginName);

/// What changes a value.
#[derive(Debug)]
pub(super) enum Change {
    Set { bucket: String, key: String, value: Bytes },
    Delete { bucket: String, key: String },
    Swap { bucket: String, key: String, from: Option<Digest>, to: Bytes },
    Increment { bucket: String, key: String, by: i64, least: i64 },
}

impl Change {
    /// What it writes, in bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Set { value: to, .. } | Self::Swap { to, .. } => to.len(),
            Self::Delete { .. } | Self::Increment { .. } => 0,
        }
    }
}

/// Where an entry is, and what it and all of its space take.
#[derive(Debug)]
struct Place<'a> {
    space: i64,
    bucket: &'a str,
    key: &'a str,
    /// What the space holds.
    held_bytes: u64,
    /// What it may hold.
    most_bytes: u64,
    tenant: &'a TenantName,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Ledger {
    db: Connection,
    /// What the spaces of each tenant hold.
    held: HeldBytes,
    most_bytes: u64,
    floor: Floor,
    /// Whether the disk had less free space than the floor at the last change.
    is_low: bool,
}

impl State for Ledger {
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

/// An answer, or why there is none; the outer result is about the disk.
type Answered<A> = rusqlite::Result<Result<A, KeyValueError>>;

impl Ledger {
    /// Of a database that had its [`STEPS`].
    pub(super) fn new(db: Connection, most_bytes: u64, floor: Floor) -> rusqlite::Result<Self> {
        Ok(Self { held: held(&db)?, db, most_bytes, floor, is_low: false })
    }

    /// Makes a change of a plugin that may hold `most_bytes`.
    pub(super) fn change(
        &mut self,
        owner: &Owner,
        most_bytes: u64,
        change: Change,
    ) -> Answered<KeyValueReply> {
        self.is_low = self.floor.is_reached();
        let (space, held_bytes) = self.space(owner)?;
        let tenant = &owner.0;
        let place = |bucket, key| Place { space, bucket, key, held_bytes, most_bytes, tenant };
        match change {
            Change::Set { bucket, key, value } => {
                let written = self.write(&place(&bucket, &key), &value)?;
                Ok(written.map(|()| KeyValueReply::Done))
            }
            Change::Delete { bucket, key } => {
                self.delete(&place(&bucket, &key))?;
                Ok(Ok(KeyValueReply::Done))
            }
            Change::Swap { bucket, key, from, to } => {
                let place = place(&bucket, &key);
                if self.value(&place)?.map(|value| Digest::of(&value)) != from {
                    return Ok(Ok(KeyValueReply::Swapped(false)));
                }
                Ok(self.write(&place, &to)?.map(|()| KeyValueReply::Swapped(true)))
            }
            Change::Increment { bucket, key, by, least } => {
                self.increment(&place(&bucket, &key), by, least)
            }
        }
    }

    /// Removes a space with all that it holds.
    pub(super) fn remove(&mut self, owner: &Owner) -> rusqlite::Result<()> {
        let Some((space, held_bytes)) = find(&self.db, owner)? else { return Ok(()) };
        self.db.prepare_cached("DELETE FROM entry WHERE space = ?1")?.execute([space])?;
        self.db.prepare_cached("DELETE FROM space WHERE id = ?1")?.execute([space])?;
        self.held.remove(&owner.0, held_bytes);
        Ok(())
    }

    /// The space of `owner`, made if it has none, and what it holds.
    fn space(&self, owner: &Owner) -> rusqlite::Result<(i64, u64)> {
        if let Some(found) = find(&self.db, owner)? {
            return Ok(found);
        }
        let (tenant, plugin) = owner;
        let sql = "INSERT INTO space (tenant, plugin, bytes) VALUES (?1, ?2, 0)";
        self.db.prepare_cached(sql)?.execute([tenant.as_str(), plugin.as_str()])?;
        Ok((self.db.last_insert_rowid(), 0))
    }

    fn value(&self, place: &Place<'_>) -> rusqlite::Result<Option<Vec<u8>>> {
        let sql = "SELECT value FROM entry WHERE space = ?1 AND bucket = ?2 AND key = ?3";
        let Place { space, bucket, key, .. } = place;
        let value = |row: &rusqlite::Row<'_>| row.get(0);
        self.db.prepare_cached(sql)?.query_row(params![space, bucket, key], value).optional()
    }

    /// Adds to a number, if the sum is `least` or more.
    fn increment(&mut self, place: &Place<'_>, by: i64, least: i64) -> Answered<KeyValueReply> {
        let key = shorten(place.key);
        let refused = |why: String| Ok(Err(KeyValueError::Refused(why)));
        let number = match self.value(place)? {
            None => 0,
            Some(value) => match std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok()) {
                Some(number) => number,
                None => return refused(format!("the value of `{key}` is not a whole number")),
            },
        };
        let Some(sum) = i64::checked_add(number, by).filter(|sum| *sum >= least) else {
            return refused(format!("`{key}` is {number}: {by} more is out of range"));
        };
        let written = self.write(place, sum.to_string().as_bytes())?;
        Ok(written.map(|()| KeyValueReply::Number(sum)))
    }

    /// Sets a value, if there is room.
    fn write(&mut self, place: &Place<'_>, value: &[u8]) -> Answered<()> {
        let before = self.taken(place)?;
        let after = cost(place, value.len() as u64);
        let refusal = match self.over_bound(place, before, after) {
            None => self.short_of_disk(before, after)?,
            over => over,
        };
        if let Some(why) = refusal {
            return Ok(Err(KeyValueError::Refused(why)));
        }
        let sql = "INSERT INTO entry (space, bucket, key, value) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET value = excluded.value";
        let row = params![place.space, place.bucket, place.key, value];
        self.db.prepare_cached(sql)?.execute(row)?;
        self.held.remove(place.tenant, before);
        self.held.add(place.tenant, after);
        self.account(place.space, place.held_bytes.saturating_sub(before) + after).map(Ok)
    }

    /// Which bound an entry exceeds that took `before` bytes and is to take `after`.
    fn over_bound(&self, place: &Place<'_>, before: u64, after: u64) -> Option<String> {
        let space = place.held_bytes.saturating_sub(before) + after;
        let all = self.held.bytes().saturating_sub(before) + after;
        // Whoever holds more than he may since his grant has shrunk may still shrink.
        for (whose, bytes, most) in
            [("the plugin", space, place.most_bytes), ("all plugins", all, self.most_bytes)]
        {
            if after > before && bytes > most {
                let (bytes, most) = (show_bytes(bytes), show_bytes(most));
                return Some(format!("the values of {whose} would take {bytes}: {most} at most"));
            }
        }
        let budget = Budget { all: self.most_bytes, weight: Budget::KEPT };
        let own = self.held.of(place.tenant);
        let more = after.saturating_sub(before);
        (budget.admits(self.held.bytes(), own, more) == Err(Full::Tenant)).then(|| {
            let own = show_bytes(own);
            format!(
                "the values of all plugins of the tenant take {own}, its share of what the host keeps"
            )
        })
    }

    /// Why an entry cannot grow from `before` to `after` bytes, if the disk is short of space and the file
    /// would grow: free pages in it are used first.
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
             values that are no longer"
        )))
    }

    fn delete(&mut self, place: &Place<'_>) -> rusqlite::Result<()> {
        let before = self.taken(place)?;
        let sql = "DELETE FROM entry WHERE space = ?1 AND bucket = ?2 AND key = ?3";
        let row = params![place.space, place.bucket, place.key];
        if self.db.prepare_cached(sql)?.execute(row)? == 0 {
            return Ok(());
        }
        let space = place.held_bytes.saturating_sub(before);
        self.held.remove(place.tenant, before);
        self.account(place.space, space)
    }

    /// What an entry takes; nothing if it is not there.
    fn taken(&self, place: &Place<'_>) -> rusqlite::Result<u64> {
        let sql = "SELECT length(value) FROM entry WHERE space = ?1 AND bucket = ?2 AND key = ?3";
        let row = params![place.space, place.bucket, place.key];
        let length = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0).map(i64::unsigned_abs);
        let found = self.db.prepare_cached(sql)?.query_row(row, length).optional()?;
        Ok(found.map_or(0, |length| cost(place, length)))
    }

    /// Writes down what a space holds now.
    fn account(&self, space: i64, bytes: u64) -> rusqlite::Result<()> {
        let sql = "UPDATE space SET bytes = ?2 WHERE id = ?1";
        self.db.prepare_cached(sql)?.execute(params![space, bytes.cast_signed()]).map(drop)
    }
}

/// What an entry with a value of `length` takes.
fn cost(place: &Place<'_>, length: u64) -> u64 {
    (place.bucket.len() + place.key.len()) as u64 + length + ENTRY_BYTES
}

fn held(db: &Connection) -> rusqlite::Result<HeldBytes> {
    let sql = "SELECT tenant, sum(bytes) FROM space GROUP BY tenant";
    let share = |row: &rusqlite::Row<'_>| {
        Ok((columns::tenant(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    };
    db.prepare(sql)?.query_map([], share)?.collect()
}

/// The space of `owner`, if it has one, and what it holds.
fn find(db: &Connection, (tenant, plugin): &Owner) -> rusqlite::Result<Option<(i64, u64)>> {
    let sql = "SELECT id, bytes FROM space WHERE tenant = ?1 AND plugin = ?2";
    let found = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    db.prepare_cached(sql)?.query_row([tenant.as_str(), plugin.as_str()], found).optional()
}

/// The value of a key.
pub(super) fn get(
    db: &Connection,
    (tenant, plugin): &Owner,
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
    (tenant, plugin): &Owner,
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
    (tenant, plugin): &Owner,
) -> rusqlite::Result<Vec<(String, String, Vec<u8>)>> {
    let sql = "SELECT bucket, key, value FROM entry WHERE space =
                 (SELECT id FROM space WHERE tenant = ?1 AND plugin = ?2)
               ORDER BY bucket, key";
    let entry = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let owner = params![tenant.as_str(), plugin.as_str()];
    db.prepare_cached(sql)?.query_map(owner, entry)?.collect()
}
