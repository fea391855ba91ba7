//! How much memory headers may take, and how much they do.

use ::http::HeaderMap;
use wasmtime_wasi_http::WasiHttpCtx;

/// What headers may take in memory, in bytes, each with what describes it: room for `MAX_HEAD_BYTES` of
/// 24 bytes each. Of shorter ones there is room for fewer bytes, about 3,000 headers.
pub(super) const MEMORY_BYTES: usize = 256 << 10;

/// Headers that take more than this in memory, in bytes, are long: a guest may have as many shorter ones as
/// it may have resources.
pub(super) const LONG_BYTES: usize = 16 << 10;

/// Long headers that one guest may hold at a time: with these it takes twice as much of the host's memory
/// as with short ones.
pub(super) const MOST_LONG: usize = 64;

/// What the headers of requests under way may take in memory, in bytes, in addition to those lists.
pub(super) const MOST_BYTES: usize = MOST_LONG * MEMORY_BYTES;

/// What a guest's `wasmtime::Store` holds for HTTP.
pub(in crate::runtime) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(MEMORY_BYTES);
    context
}

/// What describes a header in memory, in bytes.
pub(super) const ENTRY: usize = size_of::<::http::HeaderName>() + size_of::<::http::HeaderValue>();

/// What headers take in memory, in bytes.
pub(super) fn memory_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY).sum()
}

/// Whether headers take more than [`LONG_BYTES`] in memory: looks at no more of them than tell.
pub(super) fn is_long(headers: &HeaderMap) -> bool {
    let mut bytes = 0;
    headers.iter().any(|(name, value)| {
        bytes += name.as_str().len() + value.len() + ENTRY;
        bytes > LONG_BYTES
    })
}
