//! The limits on the headers that a guest makes: `fields` of `wasi:http`.
//!
//! wasmtime's own functions trap a guest that exceeds the limit. These functions return an error
//! that the guest can handle, and otherwise call wasmtime's. Invariants: the headers of one message
//! take at most [`MAX_HEAD_BYTES`], counted as in a request, and [`MEMORY_BYTES`] in memory; of all
//! that one guest holds, few are long. Clones share their memory until one of them changes, so
//! every function that changes a list counts them all as if they did not.

use std::any::Any;

use ::http::HeaderMap;
use jobwright_core::services::MAX_HEAD_BYTES;
use wasmtime::component::{Linker, Resource};
use wasmtime::{StoreContextMut, error::Context as _};
use wasmtime_wasi_http::p2::bindings::http::types::{HeaderError, HostFields as _};
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::p2::{self, HeaderResult};
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpCtxView, WasiHttpView as _};

use super::super::super::capability::channel::Level;
use super::super::super::guest::Guest;
use super::super::super::pieces::pay;
use super::header_size::{ENTRY, LONG_BYTES, MEMORY_BYTES, MOST_LONG, is_long};

/// The interface, in the release that wasmtime implements.
const TYPES: &str = "wasi:http/types@0.2.12";

type Fields = Resource<FieldMap>;
type Entries = Vec<(String, Vec<u8>)>;
type Answer<T> = wasmtime::Result<(Result<T, HeaderError>,)>;
type Store<'a> = StoreContextMut<'a, Guest>;

/// Links the functions that add headers, in place of wasmtime's.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[static]fields.from-list", |store, (entries,)| from_list(store, entries))?;
    types.func_wrap("[method]fields.set", |store, (fields, name, values)| {
        set(store, fields, name, values)
    })?;
    types
        .func_wrap("[method]fields.delete", |store, (fields, name)| delete(store, fields, name))?;
    types.func_wrap("[method]fields.append", |store, (fields, name, value)| {
        append(store, fields, name, value)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn from_list(mut store: Store<'_>, entries: Entries) -> Answer<Fields> {
    let added = entries.iter().map(|(name, value)| Header { name, bytes: value.len() });
    let change = Change { added: added.collect(), replaces: None };
    let excess = excess(&mut store, None, &change)?;
    let guest = store.data_mut();
    if let Some(why) = excess {
        return refused(guest, &why);
    }
    let made = guest.http().from_list(entries);
    answered(guest, made)
}

fn append(mut store: Store<'_>, fields: Fields, name: String, value: Vec<u8>) -> Answer<()> {
    let added = vec![Header { name: &name, bytes: value.len() }];
    let excess = excess(&mut store, Some(&fields), &Change { added, replaces: None })?;
    let guest = store.data_mut();
    if let Some(why) = excess {
        return refused(guest, &why);
    }
    let appended = guest.http().append(fields, name, value);
    answered(guest, appended)
}

fn set(mut store: Store<'_>, fields: Fields, name: String, values: Vec<Vec<u8>>) -> Answer<()> {
    let added = values.iter().map(|value| Header { name: &name, bytes: value.len() });
    let change = Change { added: added.collect(), replaces: Some(&name) };
    let excess = excess(&mut store, Some(&fields), &change)?;
    let guest = store.data_mut();
    if let Some(why) = excess {
        return refused(guest, &why);
    }
    let set = guest.http().set(Resource::new_borrow(fields.rep()), name, values);
    shrunk(guest, &fields, set)
}

fn delete(mut store: Store<'_>, fields: Fields, name: String) -> Answer<()> {
    let change = Change { added: vec![], replaces: Some(&name) };
    let excess = excess(&mut store, Some(&fields), &change)?;
    let guest = store.data_mut();
    if let Some(why) = excess {
        return refused(guest, &why);
    }
    let deleted = guest.http().delete(Resource::new_borrow(fields.rep()), name);
    shrunk(guest, &fields, deleted)
}

/// The answer to a change after which a long list may be short. Its spare memory is released,
/// because the memory of short lists is not counted.
fn shrunk(guest: &mut Guest, fields: &Fields, changed: HeaderResult<()>) -> Answer<()> {
    let WasiHttpCtxView { table, hooks, .. } = guest.http();
    let held = table.get_mut(fields).context("getting fields")?;
    if changed.is_ok() && !is_long(held) {
        // A clone has no more capacity than it needs.
        let map = HeaderMap::clone(held);
        *held = FieldMap::new_immutable(hooks, map);
        held.set_mutable(MEMORY_BYTES);
    }
    answered(guest, changed)
}

/// A header that is to be added.
struct Header<'a> {
    name: &'a str,
    /// The length of its value.
    bytes: usize,
}

/// A change of a list of headers.
struct Change<'a> {
    added: Vec<Header<'a>>,
    /// The name whose headers are removed first.
    replaces: Option<&'a str>,
}

/// Why `fields` would exceed a limit after this change, if they would.
fn excess(
    store: &mut Store<'_>,
    fields: Option<&Fields>,
    change: &Change<'_>,
) -> wasmtime::Result<Option<String>> {
    let (mut bytes, mut memory, mut was_long) = (0, 0, false);
    if let Some(fields) = fields {
        let present = store.data_mut().handles().get(fields).context("getting fields")?;
        was_long = is_long(present);
        let replaced = |name: &str| change.replaces.is_some_and(|it| it.eq_ignore_ascii_case(name));
        for (name, value) in present.iter().filter(|(name, _)| !replaced(name.as_str())) {
            bytes += name.as_str().len() + value.len() + 4;
            memory += name.as_str().len() + value.len() + ENTRY;
        }
    }
    for header in &change.added {
        bytes += header.name.len() + header.bytes + 4;
        memory += header.name.len() + header.bytes + ENTRY;
    }
    if bytes > MAX_HEAD_BYTES {
        let why = format!(
            "its headers have {bytes} bytes, more than the maximum of {MAX_HEAD_BYTES} bytes"
        );
        return Ok(Some(why));
    }
    // A long list that a clone shares is copied before it changes.
    if memory <= LONG_BYTES && !was_long {
        return Ok(None);
    }
    let others = long_lists(store)? - usize::from(was_long);
    Ok((others >= MOST_LONG)
        .then(|| format!("the guest holds {MOST_LONG} long lists of headers, the maximum")))
}

/// The number of long lists that the guest holds, at most [`MOST_LONG`] and one. Looking at each
/// list costs fuel.
fn long_lists(store: &mut Store<'_>) -> wasmtime::Result<usize> {
    let (mut looks, mut long) = (0, 0);
    for held in store.data_mut().handles().iter_mut() {
        let headers = headers_of(&*held);
        looks += 1 + headers.map_or(0, |headers| headers.len().min(LONG_BYTES / ENTRY));
        long += usize::from(headers.is_some_and(is_long));
        if long > MOST_LONG {
            break;
        }
    }
    pay(store, looks)?;
    Ok(long)
}

fn headers_of(held: &(dyn Any + Send)) -> Option<&HeaderMap> {
    let fields = held.downcast_ref::<FieldMap>();
    let fields = fields
        .or_else(|| held.downcast_ref::<HostOutgoingRequest>().map(|request| &request.headers))
        .or_else(|| held.downcast_ref::<HostOutgoingResponse>().map(|response| &response.headers));
    fields.map(|fields| &**fields)
}

/// The result of wasmtime's own function.
fn answered<T>(guest: &Guest, result: HeaderResult<T>) -> Answer<T> {
    let error = match result {
        Ok(answer) => return Ok((Ok(answer),)),
        Err(error) => p2::HeaderError::downcast(error),
    };
    match error {
        Ok(error) => Ok((Err(error),)),
        Err(trap) => match trap.downcast_ref() {
            Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) => {
                let why = format!("its headers take more than {MEMORY_BYTES} bytes in memory");
                refused(guest, &why)
            }
            _ => Err(trap),
        },
    }
}

/// Refuses a change that exceeds a limit, by the error of a header that must not be set, as the
/// interface has none for limits.
fn refused<T>(guest: &Guest, why: &str) -> Answer<T> {
    let message = format!("refused a header: {why}");
    guest.channel().log(Level::Warn, "jobwright", message.as_bytes());
    Ok((Err(HeaderError::Forbidden),))
}
