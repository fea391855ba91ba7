//! The hosts that hold leases: the rows of the table `host` with a number other than 0. A running job has the number
//! of its host, which is 1 where the store has one host, and takes no byte of the row then.

use std::collections::BTreeMap;

use jobwright_core::host::HostId;
use jobwright_core::queue::Holder;
use rusqlite::{Connection, Result, Row, params};

use crate::sqlite::columns::{micros, time};

/// The numbers of the hosts that have a row.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<HostId, i64>);

impl Holders {
    /// Reads all of them.
    pub(super) fn load(&mut self, db: &Connection) -> Result<Vec<Holder>> {
        let found = |row: &Row<'_>| {
            let (id, alive_at) = (HostId::from_bytes(row.get(1)?), time(row, 2)?);
            let finished = row.get::<_, i64>(3)?.unsigned_abs();
            Ok((row.get(0)?, Holder { id, alive_at, finished }))
        };
        let sql = "SELECT number, id, alive_at, finished FROM host WHERE number <> 0";
        let found = db.prepare(sql)?.query_map([], found)?.collect::<Result<Vec<_>>>()?;
        self.0 = found.iter().map(|(number, holder)| (holder.id, *number)).collect();
        Ok(found.into_iter().map(|(_, holder)| holder).collect())
    }

    /// The number of a host, which gets a row with its first lease.
    pub(super) fn number(&mut self, db: &Connection, id: HostId) -> Result<i64> {
        if let Some(number) = self.0.get(&id) {
            return Ok(*number);
        }
        let number = self.0.values().max().map_or(1, |last| last + 1);
        let sql = "INSERT INTO host (number, id, alive_at, finished) VALUES (?1, ?2, 0, 0)";
        db.execute(sql, params![number, id.as_bytes()])?;
        self.0.insert(id, number);
        Ok(number)
    }

    /// Writes the signs of life of those that have a row.
    pub(super) fn update(&self, db: &Connection, holders: &[Holder]) -> Result<()> {
        for Holder { id, alive_at, finished } in holders {
            let Some(number) = self.0.get(id) else { continue };
            let sql = "UPDATE host SET alive_at = ?2, finished = ?3 WHERE number = ?1";
            let row = params![number, micros(*alive_at), finished.cast_signed()];
            db.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }

    /// Removes all of them.
    pub(super) fn remove(&mut self, db: &Connection) -> Result<()> {
        self.0.clear();
        db.execute("DELETE FROM host WHERE number <> 0", []).map(drop)
    }
}
