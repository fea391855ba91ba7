//! The functions of the module `jobwright` for stored values and for configured values. A call that
//! is not granted returns [`REFUSED`].

use jobwright_core::services::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use wasmtime::{Caller, Linker, bail};

use super::super::super::guest::Guest;
use super::super::key_value::bucket::Bucket;
use super::memory::{Called, MODULE, NONE, REFUSED, Region};

/// The bucket of `wasi:keyvalue` that these functions work on.
const BUCKET: &str = "default";

/// A key and a region for its value, as guests pass them.
type KeyAndValue = (u32, u32, u32, u32);

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "value_get",
        |guest, (key, key_length, at, length): KeyAndValue| {
            let key = Region { at: key, length: key_length };
            Box::new(get(guest, key, Region { at, length }))
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "value_set",
        |guest, (key, key_length, at, length): KeyAndValue| {
            let key = Region { at: key, length: key_length };
            Box::new(set(guest, key, Region { at, length }))
        },
    )?;
    linker.func_wrap_async(MODULE, "value_delete", |guest, (at, length): (u32, u32)| {
        Box::new(delete(guest, Region { at, length }))
    })?;
    linker.func_wrap_async(
        MODULE,
        "value_add",
        |guest, (at, length, by, sum): (u32, u32, i64, u32)| {
            let sum = Region { at: sum, length: size_of::<i64>() as u32 };
            Box::new(add(guest, Region { at, length }, by, sum))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "config_get",
        |mut guest: Caller<'_, Guest>, name, name_length, at, length| {
            let name = Region { at: name, length: name_length };
            config_get(&mut guest, name, Region { at, length })
        },
    )?;
    Ok(())
}

async fn get(mut guest: Caller<'_, Guest>, key: Region, to: Region) -> Called<i32> {
    let key = name(&mut guest, key)?;
    match bucket(&guest).get(key).await {
        Ok(Some(found)) => to.fill(&mut guest, &found),
        Ok(None) => Ok(NONE),
        Err(_) => Ok(REFUSED),
    }
}

async fn set(mut guest: Caller<'_, Guest>, key: Region, value: Region) -> Called<i32> {
    let key = name(&mut guest, key)?;
    // One byte more than the limit is enough to be refused.
    let value = value.copy(&mut guest, MAX_VALUE_BYTES as u64 + 1)?;
    Ok(bucket(&guest).set(key, value).await.map_or(REFUSED, |()| 0))
}

async fn delete(mut guest: Caller<'_, Guest>, key: Region) -> Called<i32> {
    let key = name(&mut guest, key)?;
    Ok(bucket(&guest).delete(key).await.map_or(REFUSED, |()| 0))
}

async fn add(mut guest: Caller<'_, Guest>, key: Region, by: i64, sum: Region) -> Called<i32> {
    let key = name(&mut guest, key)?;
    let Ok(number) = bucket(&guest).increment(key, by, i64::MIN).await else { return Ok(REFUSED) };
    sum.bytes_mut(&mut guest)?.copy_from_slice(&number.to_le_bytes());
    Ok(0)
}

fn config_get(guest: &mut Caller<'_, Guest>, key: Region, to: Region) -> Called<i32> {
    let key = name(guest, key)?;
    match guest.data().configured(&key) {
        Ok(Some(found)) => to.fill(guest, found.as_bytes()),
        Ok(None) => Ok(NONE),
        Err(_) => Ok(REFUSED),
    }
}

fn bucket(guest: &Caller<'_, Guest>) -> Bucket {
    Bucket::new(guest.data(), BUCKET.to_owned())
}

/// A name that the guest passed.
fn name(guest: &mut Caller<'_, Guest>, passed: Region) -> Called<String> {
    match std::str::from_utf8(passed.bytes_mut(guest)?) {
        // One byte more than the limit is enough to be refused.
        Ok(name) => Ok(name[..name.ceil_char_boundary(MAX_KEY_BYTES + 1)].to_owned()),
        Err(_) => bail!("the guest passed a name to `{MODULE}` that is not UTF-8"),
    }
}
