//! How values are written in columns, and read back.

use jobwright_core::clock::Timestamp;
use jobwright_core::tenant::TenantName;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;

/// A time as it is written: microseconds since 1970.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The time in a column.
pub(crate) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let micros: i64 = row.get(column)?;
    Timestamp::from_microsecond(micros).map_err(|e| unreadable(column, Type::Integer, e))
}

/// The name of a tenant in a column.
pub(crate) fn tenant(row: &Row<'_>, column: usize) -> rusqlite::Result<TenantName> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, Type::Text, error))
}

/// The JSON in a column.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|error| unreadable(column, Type::Text, error))
}

/// The JSON of `value`; serializing a stored type never fails.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A column with an invalid value.
pub(crate) fn unreadable(
    column: usize,
    kind: Type,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
}
