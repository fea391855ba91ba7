//! Holds and limits of tenants, the record of the host, and the bytes of each tenant.

use std::collections::BTreeMap;

use jobwright_core::capacity::HeldBytes;
use jobwright_core::hold::{Hold, HoldNote};
use jobwright_core::ledger::{Found, HostRow};
use jobwright_core::queue::Holder;
use jobwright_core::tenant::{TenantLimits, TenantName};
use rusqlite::{Connection, Result, Row, params};

use crate::sqlite::columns::{self, micros, to_json};
use crate::store::embedded::queries::host;

/// All that is kept here, with the hosts that hold leases.
pub(super) fn found(db: &Connection, holders: Vec<Holder>) -> Result<Found> {
    Ok(Found {
        host: host(db)?,
        holders,
        holds: holds(db)?,
        tenants: tenants(db)?,
        keys: super::keys::held(db)?,
        history: shares(db)?,
    })
}

/// Writes the record of the host.
pub(super) fn set_host(db: &Connection, host: &HostRow) -> Result<()> {
    let row = params![
        micros(host.alive_at),
        host.finished.cast_signed(),
        super::unfinished::span(host.ahead),
        host.last_row.cast_signed(),
        host.position.number().cast_signed(),
        host.pruned.number().cast_signed(),
    ];
    let sql = "UPDATE host SET alive_at = ?1, finished = ?2, ahead = ?3, last_row = ?4,
                 position = ?5, pruned = ?6 WHERE number = 0";
    db.prepare_cached(sql)?.execute(row).map(drop)
}

/// The size of the history by tenant.
fn shares(db: &Connection) -> Result<HeldBytes> {
    let share =
        |row: &Row<'_>| Ok((columns::tenant(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    db.prepare("SELECT tenant, bytes FROM history_share")?.query_map([], share)?.collect()
}

/// Writes the changed sizes.
pub(super) fn set_shares(db: &Connection, shares: &[(TenantName, u64)]) -> Result<()> {
    for (tenant, bytes) in shares {
        if *bytes == 0 {
            let sql = "DELETE FROM history_share WHERE tenant = ?1";
            db.prepare_cached(sql)?.execute([tenant.as_str()])?;
        } else {
            let sql = "INSERT OR REPLACE INTO history_share VALUES (?1, ?2)";
            db.prepare_cached(sql)?.execute(params![tenant.as_str(), bytes.cast_signed()])?;
        }
    }
    Ok(())
}

fn holds(db: &Connection) -> Result<BTreeMap<Hold, HoldNote>> {
    let read = |row: &Row<'_>| Ok((columns::json(row, 0)?, columns::json(row, 1)?));
    db.prepare("SELECT hold, note FROM hold")?.query_map([], read)?.collect()
}

/// Writes a hold with its note, or removes it.
pub(super) fn set_hold(db: &Connection, hold: &Hold, note: Option<&HoldNote>) -> Result<()> {
    let hold = to_json(hold)?;
    let Some(note) = note else {
        return db.prepare_cached("DELETE FROM hold WHERE hold = ?1")?.execute([hold]).map(drop);
    };
    let sql = "INSERT OR REPLACE INTO hold (hold, note) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute([hold, to_json(note)?]).map(drop)
}

fn tenants(db: &Connection) -> Result<Vec<(TenantName, TenantLimits)>> {
    let tenant = |row: &Row<'_>| Ok((columns::tenant(row, 0)?, columns::json(row, 1)?));
    db.prepare("SELECT name, limits FROM tenant")?.query_map([], tenant)?.collect()
}

/// Writes the limits of a tenant, or removes them if there are none.
pub(super) fn set_tenant(db: &Connection, name: &TenantName, limits: &TenantLimits) -> Result<()> {
    if *limits == TenantLimits::default() {
        let sql = "DELETE FROM tenant WHERE name = ?1";
        return db.prepare_cached(sql)?.execute([name.as_str()]).map(drop);
    }
    let sql = "INSERT OR REPLACE INTO tenant VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![name.as_str(), to_json(limits)?]).map(drop)
}
