//! The seam to what guests reach outside of their sandboxes, as far as they were granted it.

mod arriving;
mod keeping;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::arriving::{Body, Pieces, at_once};
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
    /// Sends a request, and answers as soon as the head of the response is there; its body follows.
    ///
    /// # Errors
    /// [`Unsent`] if it was not granted, or nothing came back.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeouts: Timeouts,
    ) -> Result<http::Response<Body>, Unsent>;

    /// Reads or changes a value that the plugin keeps.
    ///
    /// # Errors
    /// [`Unkept`] if it was not granted, or there is no room.
    async fn keep(&self, call: Keep) -> Result<Kept, Unkept>;

    /// The longest body that [`Outside::send`] takes, in bytes: more need not be gathered.
    fn request_bytes(&self) -> u64;
}

/// How long a guest wants to wait for each part of a response, as `wasi:http` has them. What is absent
/// may take as long as the attempt, but for the connection, of which the host has a limit of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the look-up of the name until the connection is there, and secure if it is to be.
    pub connect: Option<Duration>,
    /// From then until the head of the response.
    pub first_byte: Option<Duration>,
    /// Between the head and the first bytes of the body, and between any two pieces of it.
    pub between_bytes: Option<Duration>,
}

/// Why there is no response, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Unsent {
    /// Nothing allows it: not where it goes, not its method, not the use of a secret.
    #[error("denied: {0}")]
    Denied(String),
    /// It may go where it names, and not to an address that this name has.
    #[error("denied: {0}")]
    DeniedAddress(String),
    /// The attempt has made as many requests as it may.
    #[error("the attempt has sent {0} requests, all that `grants.http_limits.requests` allows")]
    TooMany(u32),
    /// The body of the request is longer than it may be.
    #[error(
        "the request is longer than the {0} bytes that `grants.http_limits.request_bytes` allows"
    )]
    RequestTooLong(u64),
    /// The address and headers of the request are longer than they may be.
    #[error("its address and headers are longer than the {0} bytes that they may have")]
    HeadTooLong(u64),
    /// The body of the response is longer than it may be.
    #[error(
        "the response is longer than the {0} bytes that `grants.http_limits.response_bytes` allows"
    )]
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
    /// There was no connection in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// No response began in time.
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    /// The response did not go on in time.
    #[error("the response did not go on for {0:?}")]
    Stalled(Duration),
    /// The headers of the response are longer, or more, than they may be.
    #[error("the headers of the response are longer than {0} bytes, or more than {MAX_HEADERS}")]
    ResponseHeadTooLong(u64),
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

/// What the headers of a message may take, in bytes, with the address of a request: eight times what most
/// servers take.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// The most headers of a response: what takes [`MAX_HEAD_BYTES`] at 32 bytes each.
pub const MAX_HEADERS: usize = 2048;

/// What headers take, in bytes, with the colon, the space and the end of the line of each.
#[must_use]
pub fn header_bytes(headers: &http::HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
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
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: Timeouts,
    ) -> Result<http::Response<Body>, Unsent> {
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
