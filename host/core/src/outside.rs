//! The seam to what guests reach outside of their sandboxes, as far as they were granted it.

mod keeping;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::keeping::{Keep, Kept, MAX_BUCKET_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Unkept};
use crate::grant::Grants;
use crate::job::Job;
use crate::log::LogBuffer;
use crate::name::shorten;
use crate::plugin::PluginName;
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
    /// The address and headers of the request are longer than they may be.
    #[error("its address and headers are longer than the {0} bytes that they may have")]
    HeadTooLong(u64),
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

impl Unsent {
    /// The line about it in the log of the attempt whose request it is, as [`shown`].
    #[must_use]
    pub fn line(&self, shown: &str) -> String {
        format!("WARN: jobwright: {shown}: {self}\n")
    }
}

/// A request in a line of a log: without its query, in which there may be what is nobody's business.
#[must_use]
pub fn shown(method: &http::Method, to: &http::Uri) -> String {
    let text = to.to_string();
    let end = text.find('?').unwrap_or(text.len());
    format!("{} {}", shorten(method.as_str()), shorten(&text[..end]))
}

/// What the address and the headers of a request may take, in bytes: eight times what most servers take.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_without_its_query() {
        let to = "http://a.example.com/p?secret=1".parse().expect("a URI");
        assert_eq!(shown(&http::Method::POST, &to), "POST http://a.example.com/p");
    }
}
