//! How long headers may be that a guest makes: `fields` of `wasi:http`.
//!
//! wasmtime's own functions trap a guest that exceeds the limit. These say so with an error that the guest
//! can handle, and leave the rest to wasmtime's. Invariants: the headers of one message take at most
//! [`MAX_HEAD_BYTES`], counted as in a request; of all that one guest holds, few are as long as that.

use std::any::Any;

use ::http::HeaderMap;
use jobwright_core::outside::{MAX_HEAD_BYTES, header_bytes};
use wasmtime::component::{Linker, Resource};
use wasmtime::{StoreContextMut, error::Context as _};
use wasmtime_wasi_http::p2::bindings::http::types::{HeaderError, HostFields as _};
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::p2::{self, HeaderResult};
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpView as _};

use super::super::super::capability::Level;
use super::super::super::instance::Guest;

/// The interface, of the release that wasmtime offers.
const TYPES: &str = "wasi:http/types@0.2.12";

/// What headers may take in memory, in bytes, each with what describes it: room for [`MAX_HEAD_BYTES`] of
/// 24 bytes each.
pub(super) const MEMORY_BYTES: usize = 256 << 10;

/// Headers that take more than this in memory, in bytes, are long: a guest may have as many shorter ones as
/// it may have resources.
const LONG_BYTES: usize = 16 << 10;

/// Long headers that one guest may hold at a time: with these it takes twice as much of the host's memory
/// as with short ones.
const MOST_LONG: usize = 64;

type Fields = Resource<FieldMap>;
type Entries = Vec<(String, Vec<u8>)>;
type Answer<T> = wasmtime::Result<(Result<T, HeaderError>,)>;
type Store<'a> = StoreContextMut<'a, Guest>;

/// Offers the functions by which headers grow, in place of wasmtime's.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[static]fields.from-list", from_list)?;
    types.func_wrap("[method]fields.set", set)?;
    types.func_wrap("[method]fields.append", append)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn from_list(mut guest: Store<'_>, (entries,): (Entries,)) -> Answer<Fields> {
    let guest = guest.data_mut();
    let grown = entries.iter().map(|(name, value)| Header { name, bytes: value.len() });
    if let Some(why) = excess(guest, None, &grown.collect::<Vec<_>>())? {
        return refused(guest, &why);
    }
    let made = guest.http().from_list(entries);
    answered(guest, made)
}

fn append(mut guest: Store<'_>, (fields, name, value): (Fields, String, Vec<u8>)) -> Answer<()> {
    let guest = guest.data_mut();
    let grown = [Header { name: &name, bytes: value.len() }];
    if let Some(why) = excess(guest, Some(&fields), &grown)? {
        return refused(guest, &why);
    }
    let appended = guest.http().append(fields, name, value);
    answered(guest, appended)
}

fn set(mut guest: Store<'_>, (fields, name, values): (Fields, String, Vec<Vec<u8>>)) -> Answer<()> {
    let guest = guest.data_mut();
    // Beside what it replaces, which is seldom much.
    let grown = values.iter().map(|value| Header { name: &name, bytes: value.len() });
    if let Some(why) = excess(guest, Some(&fields), &grown.collect::<Vec<_>>())? {
        return refused(guest, &why);
    }
    let set = guest.http().set(fields, name, values);
    answered(guest, set)
}

/// A header that is to be added.
struct Header<'a> {
    name: &'a str,
    /// Of its value.
    bytes: usize,
}

/// Why `fields` would be too much with these headers, if they would.
fn excess(
    guest: &mut Guest,
    fields: Option<&Fields>,
    added: &[Header<'_>],
) -> wasmtime::Result<Option<String>> {
    let (mut bytes, mut memory) = match fields {
        Some(fields) => {
            let present = guest.handles().get(fields).context("getting fields")?;
            (header_bytes(present), memory_bytes(present))
        }
        None => (0, 0),
    };
    let is_counted = memory > LONG_BYTES;
    bytes += added.iter().map(|header| header.name.len() + header.bytes + 4).sum::<usize>();
    memory += added.iter().map(|header| header.name.len() + header.bytes + ENTRY).sum::<usize>();
    if bytes > MAX_HEAD_BYTES {
        let why = format!("its headers have {bytes} bytes: {MAX_HEAD_BYTES} at most");
        return Ok(Some(why));
    }
    if memory <= LONG_BYTES {
        return Ok(None);
    }
    let long = guest.handles().iter_mut().filter(|held| is_held_long(&**held)).count();
    Ok((long - usize::from(is_counted) >= MOST_LONG).then(|| {
        format!("the guest holds {MOST_LONG} lists of headers that are long, the most it may hold")
    }))
}

/// What describes a header in memory, in bytes.
const ENTRY: usize = size_of::<::http::HeaderName>() + size_of::<::http::HeaderValue>();

fn memory_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY).sum()
}

fn is_held_long(held: &(dyn Any + Send)) -> bool {
    let headers = held
        .downcast_ref::<FieldMap>()
        .or_else(|| held.downcast_ref::<HostOutgoingRequest>().map(|request| &request.headers))
        .or_else(|| held.downcast_ref::<HostOutgoingResponse>().map(|response| &response.headers));
    headers.is_some_and(|headers| memory_bytes(headers) > LONG_BYTES)
}

/// What wasmtime's own function came to.
fn answered<T>(guest: &Guest, result: HeaderResult<T>) -> Answer<T> {
    let error = match result {
        Ok(answer) => return Ok((Ok(answer),)),
        Err(error) => p2::HeaderError::downcast(error),
    };
    match error {
        Ok(error) => Ok((Err(error),)),
        Err(trap) => match trap.downcast_ref() {
            Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) => {
                refused(guest, "there are too many of them")
            }
            _ => Err(trap),
        },
    }
}

/// Refuses what is too much: of the errors that there are for it, the one of a header that may not be set.
fn refused<T>(guest: &Guest, why: &str) -> Answer<T> {
    let message = format!("refused a header: {why}");
    guest.line().log(Level::Warn, "jobwright", message.as_bytes());
    Ok((Err(HeaderError::Forbidden),))
}
