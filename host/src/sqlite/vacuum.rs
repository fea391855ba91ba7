//! Gives free pages back to the disk when a store is opened. While it runs they stay in its file: new jobs
//! use them again, but nothing else can.

use rusqlite::Connection;

use super::pages;
use crate::disk::Floor;

/// The least that is worth it.
const LEAST_FREE_BYTES: u64 = 8 << 20;

/// The most that is copied, in memory and to the write-ahead log: it takes about a second.
const MOST_COPIED_BYTES: u64 = 128 << 20;

/// Shrinks the file if more than half of it is free and the disk has space for a copy of the rest.
pub(crate) fn vacuum(db: &Connection, disk: &Floor) -> rusqlite::Result<()> {
    let (free, used) = (pages::free_bytes(db)?, pages::used_bytes(db)?);
    let is_worth_it = free > used && free >= LEAST_FREE_BYTES;
    // The write-ahead log takes a page and its header for each that is copied.
    let has_room = used <= MOST_COPIED_BYTES && disk.free_bytes() / 2 >= used;
    if !is_worth_it || !has_room {
        return Ok(());
    }
    db.execute_batch("VACUUM")?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    tracing::info!(bytes = free, "gave free pages of the job store back to the disk");
    Ok(())
}
