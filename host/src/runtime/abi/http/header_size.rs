//! The size of headers in memory, and its limits.

use ::http::HeaderMap;
use wasmtime_wasi_http::WasiHttpCtx;

/// The maximum size of headers in memory, in bytes, including the entry of each: `MAX_HEAD_BYTES`
/// of headers of 24 bytes each fit, or about 3,000 shorter headers.
pub(super) const MEMORY_BYTES: usize = 256 << 10;

/// Headers that take more than this in memory, in bytes, are long: a guest may have as many shorter ones as
/// it may have resources.
pub(super) const LONG_BYTES: usize = 16 << 10;

/// The maximum number of long lists of headers that one guest holds: they take as much of the
/// host's memory as all its short ones.
pub(super) const MOST_LONG: usize = 64;

/// The maximum size in memory of the headers of concurrent requests, in bytes, in addition to those
/// lists.
pub(super) const MOST_BYTES: usize = MOST_LONG * MEMORY_BYTES;

/// The HTTP state in a guest's `wasmtime::Store`.
pub(in crate::runtime) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(MEMORY_BYTES);
    context
}

/// The size of a header's entry in memory, in bytes.
pub(super) const ENTRY: usize = size_of::<::http::HeaderName>() + size_of::<::http::HeaderValue>();

/// The size of headers in memory, in bytes.
pub(super) fn memory_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY).sum()
}

/// Whether headers take more than [`LONG_BYTES`] in memory; stops counting as soon as that is
/// known.
pub(super) fn is_long(headers: &HeaderMap) -> bool {
    let mut bytes = 0;
    headers.iter().any(|(name, value)| {
        bytes += name.as_str().len() + value.len() + ENTRY;
        bytes > LONG_BYTES
    })
}
