//! The disk space of a database.

use rusqlite::{Connection, Result};

/// The maximum space of an output in addition to its bytes: pages that are not full.
const OUTPUT_PAGES_BYTES: u64 = 64 << 10;

/// The used space in the file, in bytes. The file does not shrink; its free space is reused.
pub(crate) fn used_bytes(db: &Connection) -> Result<u64> {
    Ok(file_bytes(db)?.saturating_sub(free_bytes(db)?))
}

/// The size of the file, in bytes.
pub(crate) fn file_bytes(db: &Connection) -> Result<u64> {
    bytes_of_pages(db, "PRAGMA page_count")
}

/// The free space in the file, in bytes.
pub(crate) fn free_bytes(db: &Connection) -> Result<u64> {
    bytes_of_pages(db, "PRAGMA freelist_count")
}

/// Whether an output of `bytes` fits into the file without growing it.
pub(crate) fn has_room(db: &Connection, bytes: u64) -> Result<bool> {
    Ok(free_bytes(db)? >= bytes + OUTPUT_PAGES_BYTES)
}

fn bytes_of_pages(db: &Connection, counted: &str) -> Result<u64> {
    let number = |pragma: &str| -> Result<i64> {
        db.prepare_cached(pragma)?.query_row([], |row| row.get(0))
    };
    Ok((number(counted)? * number("PRAGMA page_size")?).unsigned_abs())
}
