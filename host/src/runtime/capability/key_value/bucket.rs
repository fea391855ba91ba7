//! A bucket of stored values. Invariant: every call goes through the attempt's host services; a
//! refusal there is an error of the interface, and a refusal here is a line in the log like one
//! there.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jobwright_core::log::LogBuffer;
use jobwright_core::plugin::Digest;
use jobwright_core::services::{HostServices, KeyValueCall, KeyValueError, KeyValueReply};
use wasmtime::component::{ComponentType, Lower};

use super::super::super::guest::Guest;

/// The number of concurrent calls of one batch: they share commits.
const AT_ONCE: usize = 16;

/// The maximum size of the values of one batch, in bytes: the host holds them until all are read.
const BATCH_BYTES: usize = 16 << 20;

/// Why a call failed.
#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
pub(in super::super) enum Error {
    /// Never returned: opening a bucket creates it.
    #[component(name = "no-such-store")]
    #[expect(dead_code, reason = "the interface has it")]
    NoSuchStore,
    /// The call is not granted.
    #[component(name = "access-denied")]
    AccessDenied,
    /// Any other error.
    #[component(name = "other")]
    Other(String),
}

impl From<KeyValueError> for Error {
    fn from(why: KeyValueError) -> Self {
        match why {
            KeyValueError::Denied(_) => Self::AccessDenied,
            why => Self::Other(why.to_string()),
        }
    }
}

/// A bucket that a guest has opened.
#[derive(Debug, Clone)]
pub(in super::super) struct Bucket {
    name: Arc<str>,
    services: Arc<dyn HostServices>,
    log: Arc<LogBuffer>,
    /// The start of the next page, for cursors that are numbers: its number, and the key before it.
    pub(super) next: Option<(u64, String)>,
}

/// A compare-and-swap of a value.
#[derive(Debug, Clone)]
pub(super) struct Cas {
    bucket: Bucket,
    key: String,
    /// The digest of the value that the guest read; `None` if there was no value.
    from: Option<Digest>,
}

type Answer<T> = Result<T, Error>;

/// Makes the call for each item, some at a time; the first failure ends it.
async fn each<T, F>(all: Vec<T>, call: impl FnMut(T) -> F) -> Answer<()>
where
    F: Future<Output = Answer<()>>,
{
    stream::iter(all).map(call).buffer_unordered(AT_ONCE).try_collect().await
}

/// The error for a reply that belongs to another call.
fn odd<T>() -> Answer<T> {
    Err(Error::Other("the host's reply belongs to another call".to_owned()))
}

impl Bucket {
    pub(in super::super) fn new(guest: &Guest, name: String) -> Self {
        let services = guest.channel().granted().services.clone();
        Self { name: name.into(), services, log: guest.channel().log_buffer(), next: None }
    }

    /// Refuses a call before it reaches the host services.
    pub(super) fn refuse<T>(&self, why: String) -> Answer<T> {
        let why = KeyValueError::Refused(why);
        self.log.write(why.line().as_bytes());
        Err(why.into())
    }

    pub(super) async fn open(&self) -> Answer<()> {
        self.done(KeyValueCall::Open { bucket: self.name.to_string() }).await
    }

    pub(in super::super) async fn get(&self, key: String) -> Answer<Option<Vec<u8>>> {
        match self
            .services
            .key_value(KeyValueCall::Get { bucket: self.name.to_string(), key })
            .await?
        {
            KeyValueReply::Value(value) => Ok(value.map(Vec::from)),
            _ => odd(),
        }
    }

    pub(in super::super) async fn set(&self, key: String, value: Vec<u8>) -> Answer<()> {
        self.done(KeyValueCall::Set { bucket: self.name.to_string(), key, value: value.into() })
            .await
    }

    pub(in super::super) async fn delete(&self, key: String) -> Answer<()> {
        self.done(KeyValueCall::Delete { bucket: self.name.to_string(), key }).await
    }

    async fn done(&self, call: KeyValueCall) -> Answer<()> {
        match self.services.key_value(call).await? {
            KeyValueReply::Done => Ok(()),
            _ => odd(),
        }
    }

    /// Adds to a number; the sum must be `least` or more.
    pub(in super::super) async fn increment(
        &self,
        key: String,
        by: i64,
        least: i64,
    ) -> Answer<i64> {
        let bucket = self.name.to_string();
        match self.services.key_value(KeyValueCall::Increment { bucket, key, by, least }).await? {
            KeyValueReply::Number(sum) => Ok(sum),
            _ => odd(),
        }
    }

    /// A page of keys, and the last of them if more follow.
    pub(super) async fn keys(
        &self,
        after: Option<String>,
    ) -> Answer<(Vec<String>, Option<String>)> {
        match self
            .services
            .key_value(KeyValueCall::Keys { bucket: self.name.to_string(), after })
            .await?
        {
            KeyValueReply::Keys { keys, more } => {
                let last = keys.last().filter(|_| more).cloned();
                Ok((keys, last))
            }
            _ => odd(),
        }
    }

    pub(super) async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Answer<()> {
        each(pairs, |(key, value)| self.set(key, value)).await
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Answer<()> {
        each(keys, |key| self.delete(key)).await
    }

    pub(super) async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let read = async |key: String| {
            let value = self.get(key.clone()).await?;
            Ok::<_, Error>(value.map(|value| (key, value)))
        };
        let mut found = stream::iter(keys).map(read).buffered(AT_ONCE);
        let (mut all, mut taken) = (Vec::new(), 0);
        while let Some(pair) = found.try_next().await? {
            taken += pair.as_ref().map_or(0, |(_, value)| value.len());
            if taken > BATCH_BYTES {
                let why = format!(
                    "the values have more than {BATCH_BYTES} bytes: read fewer keys at a time"
                );
                return self.refuse(why);
            }
            all.push(pair);
        }
        Ok(all)
    }
}

impl Cas {
    pub(super) fn new(bucket: Bucket, key: String) -> Self {
        Self { bucket, key, from: None }
    }

    /// The present value, which the next swap compares with.
    pub(super) async fn read(&mut self) -> Answer<Option<Vec<u8>>> {
        let value = self.bucket.get(self.key.clone()).await?;
        self.from = value.as_deref().map(Digest::of);
        Ok(value)
    }

    /// Replaces the value. Returns false if it was changed since it was read; the next swap
    /// compares with the present value.
    pub(super) async fn swap(&mut self, to: Vec<u8>) -> Answer<bool> {
        let (bucket, key) = (self.bucket.name.to_string(), self.key.clone());
        let swap = KeyValueCall::Swap { bucket, key, from: self.from, to: Bytes::from(to) };
        match self.bucket.services.key_value(swap).await? {
            KeyValueReply::Swapped(true) => Ok(true),
            KeyValueReply::Swapped(false) => self.read().await.map(|_| false),
            _ => odd(),
        }
    }
}
