//! The seam to what guests reach outside of their sandboxes, as far as they were granted it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::grant::Grants;
use crate::job::Job;
use crate::log::LogBuffer;
use crate::plugin::{Digest, PluginName};
use crate::tenant::TenantName;

/// Looks up what a plugin is granted, and opens it to an attempt.
#[async_trait]
pub trait Grantor: Send + Sync + 'static {
    /// What the attempt at `job` that writes `log` is granted, as of now.
    fn open(&self, job: &Job, log: &Arc<LogBuffer>) -> Granted;

    /// Forgets what jobs of a plugin kept that was just removed.
    async fn forget(&self, tenant: &TenantName, plugin: &PluginName) {
        let _ = (tenant, plugin);
    }
}

/// What an attempt is granted: by the word, and to the touch.
#[derive(Debug, Clone)]
pub struct Granted {
    /// What the operator said.
    pub grants: Arc<Grants>,
    /// What can be reached of it.
    pub outside: Arc<dyn Outside>,
}

impl Granted {
    /// Nothing. What is asked for all the same is refused in `log`.
    #[must_use]
    pub fn nothing(log: &Arc<LogBuffer>) -> Self {
        Self { grants: Arc::default(), outside: Arc::new(Closed { log: log.clone() }) }
    }
}

impl Default for Granted {
    /// Nothing.
    fn default() -> Self {
        Self::nothing(&Arc::new(LogBuffer::new(0)))
    }
}

/// What one attempt reaches. Whoever implements it asks the grants, counts, and writes every refusal
/// to the attempt's log; dropping a future stops what it does.
#[async_trait]
pub trait Outside: Debug + Send + Sync + 'static {
    /// Sends a request, and answers with the whole response.
    ///
    /// # Errors
    /// [`Unsent`] if it was not granted, or did not come back.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, Unsent>;

    /// Reads or changes a value that the plugin keeps.
    ///
    /// # Errors
    /// [`Unkept`] if it was not granted, or there is no room.
    async fn keep(&self, call: Keep) -> Result<Kept, Unkept>;

    /// The longest body that [`Outside::send`] takes, in bytes: more need not be gathered.
    fn request_bytes(&self) -> u64;
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unsent {
    /// Nothing allows it: not where it goes, not its method, not the use of a secret.
    #[error("denied: {0}")]
    Denied(String),
    /// It may go where it names, and not to an address that this name has.
    #[error("denied: {0}")]
    DeniedAddress(String),
    /// The attempt has made as many requests as it may.
    #[error("the attempt has sent {0} requests, all that it may")]
    TooMany(u32),
    /// The body of the request is longer than it may be.
    #[error("the request is longer than the {0} bytes that it may have")]
    RequestTooLong(u64),
    /// The body of the response is longer than it may be.
    #[error("the response is longer than the {0} bytes that it may have")]
    ResponseTooLong(u64),
    /// The name means no address.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(String),
    /// Nobody answers there.
    #[error("cannot connect: {0}")]
    Unconnected(String),
    /// Who answers there is not who it should be.
    #[error("no secure connection: {0}")]
    Insecure(String),
    /// Nobody answered the call for a connection in time.
    #[error("no connection within {0} s")]
    TimedOut(u64),
    /// The host, or the attempt, holds as many bytes of bodies as it may.
    #[error("there is no room for its body: {0}")]
    NoRoom(String),
    /// What came back is no HTTP, or broke off.
    #[error("the response is broken: {0}")]
    Broken(String),
}

/// The longest key, in bytes: a path or a URL.
pub const MAX_KEY_BYTES: usize = 1024;

/// The longest name of a bucket, in bytes.
pub const MAX_BUCKET_BYTES: usize = 255;

/// The longest value, in bytes: as a payload and an output by default. What is larger belongs into a
/// store of objects.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// A call of `wasi:keyvalue`. Keys and values are the plugin's own; a bucket is a part of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Nothing yet: says whether the bucket can be used.
    Open {
        /// The bucket.
        bucket: String,
    },
    /// The value of a key.
    Get {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Sets the value of a key.
    Set {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
    /// Removes a key.
    Delete {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Sets the value of a key if it still is what it was, told by its digest.
    Swap {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Of what it was; none if it had no value.
        from: Option<Digest>,
        /// What it is to be.
        to: Bytes,
    },
    /// Adds to the number that a key holds, in decimal digits; none counts as 0.
    Increment {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// How much.
        by: i64,
        /// The smallest sum that whoever adds can be told: a smaller one is refused.
        least: i64,
    },
    /// A page of the keys, in the order of their bytes.
    Keys {
        /// The bucket.
        bucket: String,
        /// Only keys after this one.
        after: Option<String>,
    },
}

/// The answer to a [`Keep`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// To `Get`.
    Value(Option<Bytes>),
    /// To `Open`, `Set` and `Delete`.
    Done,
    /// To `Swap`: whether it was what it was to be.
    Swapped(bool),
    /// To `Increment`: the sum.
    Number(i64),
    /// To `Keys`.
    Keys {
        /// Some keys.
        keys: Vec<String>,
        /// Whether there are more.
        more: bool,
    },
}

/// Why a value was not read or changed.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unkept {
    /// The plugin was not granted to keep anything.
    #[error("denied: {0}")]
    Denied(String),
    /// There is no room for it, or the key or value cannot be taken.
    #[error("{0}")]
    Refused(String),
    /// The host could not.
    #[error("values cannot be kept just now: {0}")]
    Failed(String),
}

impl Unkept {
    /// The line about it in the log of the attempt whose call it is.
    #[must_use]
    pub fn line(&self) -> String {
        format!("WARN: key-value: {self}\n")
    }
}

/// Grants nothing to anybody.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

#[async_trait]
impl Grantor for Nothing {
    fn open(&self, _: &Job, log: &Arc<LogBuffer>) -> Granted {
        Granted::nothing(log)
    }
}

/// The outside of an attempt that reaches nothing.
#[derive(Debug)]
struct Closed {
    log: Arc<LogBuffer>,
}

impl Closed {
    fn refused(&self, why: &str) -> String {
        self.log.write(format!("WARN: jobwright: denied: {why}\n").as_bytes());
        why.to_owned()
    }
}

#[async_trait]
impl Outside for Closed {
    async fn send(&self, _: http::Request<Bytes>) -> Result<http::Response<Bytes>, Unsent> {
        Err(Unsent::Denied(self.refused(NO_REQUEST)))
    }

    async fn keep(&self, _: Keep) -> Result<Kept, Unkept> {
        Err(Unkept::Denied(self.refused("the plugin is granted no values to keep")))
    }

    fn request_bytes(&self) -> u64 {
        0
    }
}

/// Why a request is refused of a plugin that may send none.
pub const NO_REQUEST: &str = "the plugin is granted no request";
