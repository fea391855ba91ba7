//! The functions of the module `jobwright` that reach outside of the sandbox: values that the plugin
//! keeps, and what the operator configured.
//!
//! Invariant: as for all of the module; and what was not granted answers [`REFUSED`].

use jobwright_core::outside::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use wasmtime::{Caller, Linker, bail};

use super::super::super::instance::Guest;
use super::super::key_value::bucket::Bucket;
use super::{Called, MODULE, NONE, memory, slice};

/// What functions answer whose call was denied, or for which there is no room; the log says why.
pub(super) const REFUSED: i32 = -2;

/// The bucket of `wasi:keyvalue` that these functions work on.
const BUCKET: &str = "default";

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "value_get", |guest, at| Box::new(get(guest, at)))?;
    linker.func_wrap_async(MODULE, "value_set", |guest, at| Box::new(set(guest, at)))?;
    linker.func_wrap_async(MODULE, "value_delete", |guest, at| Box::new(delete(guest, at)))?;
    linker.func_wrap_async(MODULE, "value_add", |guest, at| Box::new(add(guest, at)))?;
    linker.func_wrap(MODULE, "config_get", config_get)?;
    Ok(())
}

async fn get(
    mut guest: Caller<'_, Guest>,
    (key, key_length, value, length): (u32, u32, u32, u32),
) -> Called<i32> {
    let key = text(&mut guest, key, key_length)?;
    match bucket(&guest).get(key).await {
        Ok(Some(found)) => answer(&mut guest, &found, value, length),
        Ok(None) => Ok(NONE),
        Err(_) => Ok(REFUSED),
    }
}

async fn set(
    mut guest: Caller<'_, Guest>,
    (key, key_length, value, length): (u32, u32, u32, u32),
) -> Called<i32> {
    let key = text(&mut guest, key, key_length)?;
    let memory = memory(&mut guest)?;
    let value = slice(memory.data_mut(&mut guest), value, length)?;
    // One byte too many is refused as well as any more.
    let value = value[..value.len().min(MAX_VALUE_BYTES + 1)].to_vec();
    Ok(bucket(&guest).set(key, value).await.map_or(REFUSED, |()| 0))
}

async fn delete(mut guest: Caller<'_, Guest>, (key, length): (u32, u32)) -> Called<i32> {
    let key = text(&mut guest, key, length)?;
    Ok(bucket(&guest).delete(key).await.map_or(REFUSED, |()| 0))
}

async fn add(
    mut guest: Caller<'_, Guest>,
    (key, length, by, sum): (u32, u32, i64, u32),
) -> Called<i32> {
    let key = text(&mut guest, key, length)?;
    let Ok(number) = bucket(&guest).increment(key, by, i64::MIN).await else { return Ok(REFUSED) };
    let memory = memory(&mut guest)?;
    slice(memory.data_mut(&mut guest), sum, 8)?.copy_from_slice(&number.to_le_bytes());
    Ok(0)
}

fn config_get(
    mut guest: Caller<'_, Guest>,
    name: u32,
    name_length: u32,
    value: u32,
    length: u32,
) -> Called<i32> {
    let name = text(&mut guest, name, name_length)?;
    match guest.data().configured(&name) {
        Ok(Some(found)) => answer(&mut guest, found.as_bytes(), value, length),
        Ok(None) => Ok(NONE),
        Err(_) => Ok(REFUSED),
    }
}

fn bucket(guest: &Caller<'_, Guest>) -> Bucket {
    Bucket::new(guest.data(), BUCKET.to_owned())
}

/// A name that the guest passed.
fn text(guest: &mut Caller<'_, Guest>, start: u32, length: u32) -> Called<String> {
    let memory = memory(guest)?;
    let bytes = slice(memory.data_mut(guest), start, length)?;
    match std::str::from_utf8(bytes) {
        // One byte too many is refused as well as any more.
        Ok(text) => Ok(text[..text.ceil_char_boundary(MAX_KEY_BYTES + 1)].to_owned()),
        Err(_) => bail!("the guest passed a name to `{MODULE}` that is not UTF-8"),
    }
}

/// Copies as much of `found` as the guest has room for, and answers the length of all of it.
pub(super) fn answer(
    guest: &mut Caller<'_, Guest>,
    found: &[u8],
    start: u32,
    length: u32,
) -> Called<i32> {
    let memory = memory(guest)?;
    let place = slice(memory.data_mut(guest), start, length)?;
    let copied = found.len().min(place.len());
    place[..copied].copy_from_slice(&found[..copied]);
    Ok(i32::try_from(found.len()).unwrap_or(i32::MAX))
}
