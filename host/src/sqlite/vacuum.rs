//! Returns free pages to the disk when a store is opened. While the store is open, they stay in its
//! file, where only new jobs can reuse them.

use rusqlite::Connection;

use super::pages;
use crate::disk::Floor;

/// The minimum free space for which it is done.
const LEAST_FREE_BYTES: u64 = 8 << 20;

/// The maximum size of the copy, in memory and in the write-ahead log: it takes about a second.
const MOST_COPIED_BYTES: u64 = 128 << 20;

/// Shrinks the file if more than half of it is free and the disk has space for a copy of the rest.
pub(crate) fn vacuum(db: &Connection, disk: &Floor) -> rusqlite::Result<()> {
    let (free, used) = (pages::free_bytes(db)?, pages::used_bytes(db)?);
    let is_worth_it = free > used && free >= LEAST_FREE_BYTES;
    // The write-ahead log gets a page and its header for each copied page.
    let has_room = used <= MOST_COPIED_BYTES && disk.free_bytes() / 2 >= used;
    if !is_worth_it || !has_room {
        return Ok(());
    }
    db.execute_batch("VACUUM")?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    tracing::info!(bytes = free, "returned free pages of the job store to the disk");
    Ok(())
}
