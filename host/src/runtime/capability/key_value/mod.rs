//! `wasi:keyvalue`: values that persist from one job of a plugin to the next, in both drafts that
//! guests import. Linked by hand, because the drafts differ in their cursors and atomics only. Owns
//! the interfaces; [`bucket`] implements the calls. Invariant: the memory that a guest takes from
//! the host is bounded, by the number of handles and by the size of the reply to one call.

pub(super) mod bucket;

use std::fmt::Display;

use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use self::bucket::{Bucket, Cas, Error};
use super::super::guest::Guest;

/// The package of its interfaces.
pub(in super::super) const PACKAGE: &str = "wasi:keyvalue";

/// Its interfaces, by package.
pub(in super::super) const INTERFACES: (&str, &[&str]) = (PACKAGE, &["store", "atomics", "batch"]);

/// The draft of wasmtime and wasmCloud, and the draft of Spin.
pub(in super::super) const DRAFTS: &[&str] = &[NUMBERS, TEXTS];

/// The draft whose cursors are numbers.
const NUMBERS: &str = "0.2.0-draft";

/// The draft whose cursors are strings.
const TEXTS: &str = "0.2.0-draft2";

/// A page of keys.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct KeyResponse<C> {
    keys: Vec<String>,
    cursor: Option<C>,
}

/// Why a value was not replaced.
#[derive(Debug, ComponentType, Lower)]
#[component(variant)]
enum CasError {
    /// The call failed.
    #[component(name = "store-error")]
    Store(Error),
    /// The value was changed since it was read; the guest can retry with the present value.
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

type Store<'a> = StoreContextMut<'a, Guest>;
type Instance<'a> = LinkerInstance<'a, Guest>;
type Handle = Resource<Bucket>;

/// Links the interface for components.
pub(in super::super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for draft in DRAFTS {
        let name = |interface: &str| format!("{PACKAGE}/{interface}@{draft}");
        let mut store = linker.instance(&name("store"))?;
        link_store(&mut store)?;
        if *draft == NUMBERS { link_numbers(&mut store) } else { link_texts(&mut store) }?;
        link_batch(&mut linker.instance(&name("batch"))?)?;
    }
    link_sum::<u64>(&mut linker.instance(&format!("{PACKAGE}/atomics@{NUMBERS}"))?, 0)?;
    let mut atomics = linker.instance(&format!("{PACKAGE}/atomics@{TEXTS}"))?;
    link_sum::<i64>(&mut atomics, i64::MIN)?;
    link_cas(&mut atomics)
}

fn link_store(store: &mut Instance<'_>) -> wasmtime::Result<()> {
    store.resource("bucket", ResourceType::host::<Bucket>(), |mut guest, handle| {
        guest.data_mut().handles().delete(Handle::new_own(handle))?;
        Ok(())
    })?;
    store.func_wrap_async("open", |mut guest: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let bucket = Bucket::new(guest.data(), name);
            Ok((match bucket.open().await {
                Ok(()) => Ok(guest.data_mut().handles().push(bucket)?),
                Err(error) => Err(error),
            },))
        })
    })?;
    store.func_wrap_async("[method]bucket.get", |guest, (handle, key): (Handle, String)| {
        let bucket = opened(guest, &handle);
        Box::new(async move { Ok((bucket?.get(key).await,)) })
    })?;
    store.func_wrap_async("[method]bucket.exists", |guest, (handle, key): (Handle, String)| {
        let bucket = opened(guest, &handle);
        Box::new(async move { Ok((bucket?.get(key).await.map(|value| value.is_some()),)) })
    })?;
    store.func_wrap_async(
        "[method]bucket.set",
        |guest, (handle, key, value): (Handle, String, Vec<u8>)| {
            let bucket = opened(guest, &handle);
            Box::new(async move { Ok((bucket?.set(key, value).await,)) })
        },
    )?;
    store.func_wrap_async("[method]bucket.delete", |guest, (handle, key): (Handle, String)| {
        let bucket = opened(guest, &handle);
        Box::new(async move { Ok((bucket?.delete(key).await,)) })
    })
}

/// Lists keys with cursors that are numbers; the cursor of the latest page is stored.
fn link_numbers(store: &mut Instance<'_>) -> wasmtime::Result<()> {
    store.func_wrap_async(
        "[method]bucket.list-keys",
        |mut guest: Store<'_>, (handle, cursor): (Handle, Option<u64>)| {
            Box::new(async move {
                let bucket = guest.data_mut().handles().get(&handle)?.clone();
                let (page, after) = match (cursor, bucket.next.clone()) {
                    (None, _) => (0, None),
                    (Some(asked), Some((next, after))) if asked == next => (next, Some(after)),
                    (Some(_), _) => {
                        let why = "the cursor is not that of the latest page: list the keys again";
                        return Ok((bucket.refuse(why.to_owned()),));
                    }
                };
                let (keys, last) = match bucket.keys(after).await {
                    Ok(found) => found,
                    Err(error) => return Ok((Err(error),)),
                };
                let next = last.map(|last| (page + 1, last));
                let cursor = next.as_ref().map(|(number, _)| *number);
                guest.data_mut().handles().get_mut(&handle)?.next = next;
                Ok((Ok(KeyResponse { keys, cursor }),))
            })
        },
    )
}

/// Lists keys with cursors that are strings: the last key of the page.
fn link_texts(store: &mut Instance<'_>) -> wasmtime::Result<()> {
    store.func_wrap_async(
        "[method]bucket.list-keys",
        |guest, (handle, after): (Handle, Option<String>)| {
            let bucket = opened(guest, &handle);
            Box::new(async move {
                let page = bucket?.keys(after).await;
                Ok((page.map(|(keys, cursor)| KeyResponse { keys, cursor }),))
            })
        },
    )
}

fn link_batch(batch: &mut Instance<'_>) -> wasmtime::Result<()> {
    batch.func_wrap_async("get-many", |guest, (handle, keys): (Handle, Vec<String>)| {
        let bucket = opened(guest, &handle);
        Box::new(async move { Ok((bucket?.get_many(keys).await,)) })
    })?;
    batch.func_wrap_async(
        "set-many",
        |guest, (handle, pairs): (Handle, Vec<(String, Vec<u8>)>)| {
            let bucket = opened(guest, &handle);
            Box::new(async move { Ok((bucket?.set_many(pairs).await,)) })
        },
    )?;
    batch.func_wrap_async("delete-many", |guest, (handle, keys): (Handle, Vec<String>)| {
        let bucket = opened(guest, &handle);
        Box::new(async move { Ok((bucket?.delete_many(keys).await,)) })
    })
}

/// Adds to numbers, whose type differs between the drafts; sums start at `least`.
fn link_sum<N>(atomics: &mut Instance<'_>, least: i64) -> wasmtime::Result<()>
where
    N: ComponentType
        + Lift
        + Lower
        + TryInto<i64>
        + TryFrom<i64>
        + Copy
        + Display
        + Send
        + Sync
        + 'static,
{
    atomics.func_wrap_async("increment", move |guest, (handle, key, by): (Handle, String, N)| {
        let bucket = opened(guest, &handle);
        Box::new(async move {
            let bucket = bucket?;
            let Ok(number) = by.try_into() else {
                let why =
                    format!("{by} is out of range: at most {} can be added at a time", i64::MAX);
                return Ok((bucket.refuse(why),));
            };
            let sum = bucket.increment(key, number, least).await;
            // Never happens: sums below `least` were refused.
            let odd = |_| Error::Other("the sum is out of range".to_owned());
            Ok((sum.and_then(|sum| N::try_from(sum).map_err(odd)),))
        })
    })
}

fn link_cas(atomics: &mut Instance<'_>) -> wasmtime::Result<()> {
    atomics.resource("cas", ResourceType::host::<Cas>(), |mut guest, handle| {
        guest.data_mut().handles().delete(Resource::<Cas>::new_own(handle))?;
        Ok(())
    })?;
    atomics.func_wrap_async(
        "[static]cas.new",
        |mut guest: Store<'_>, (handle, key): (Handle, String)| {
            Box::new(async move {
                let bucket = guest.data_mut().handles().get(&handle)?.clone();
                let mut cas = Cas::new(bucket, key);
                Ok((match cas.read().await {
                    Ok(_) => Ok(guest.data_mut().handles().push(cas)?),
                    Err(error) => Err(error),
                },))
            })
        },
    )?;
    link_current(atomics)?;
    link_swap(atomics)
}

fn link_current(atomics: &mut Instance<'_>) -> wasmtime::Result<()> {
    atomics.func_wrap_async(
        "[method]cas.current",
        |mut guest: Store<'_>, (handle,): (Resource<Cas>,)| {
            Box::new(async move {
                let mut cas = guest.data_mut().handles().get(&handle)?.clone();
                let current = cas.read().await;
                *guest.data_mut().handles().get_mut(&handle)? = cas;
                Ok((current,))
            })
        },
    )
}

fn link_swap(atomics: &mut Instance<'_>) -> wasmtime::Result<()> {
    atomics.func_wrap_async(
        "swap",
        |mut guest: Store<'_>, (handle, to): (Resource<Cas>, Vec<u8>)| {
            Box::new(async move {
                let mut cas = guest.data_mut().handles().delete(handle)?;
                Ok((match cas.swap(to).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(CasError::Failed(guest.data_mut().handles().push(cas)?)),
                    Err(error) => Err(CasError::Store(error)),
                },))
            })
        },
    )
}

fn opened(mut guest: Store<'_>, handle: &Handle) -> wasmtime::Result<Bucket> {
    Ok(guest.data_mut().handles().get(handle)?.clone())
}
