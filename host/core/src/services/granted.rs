//! The capabilities of an attempt, and the traits of what enforces them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::Body;
use super::key_value::{KeyValueCall, KeyValueError, KeyValueReply};
use super::message::{HttpRequestError, Timeouts};
use crate::grant::grants::Grants;
use crate::job::row::Job;
use crate::log::LogBuffer;
use crate::plugin::name::PluginName;
use crate::tenant::TenantName;

/// Looks up what a plugin is granted, and opens it to an attempt.
#[async_trait]
pub trait CapabilityProvider: Send + Sync + 'static {
    /// What the attempt at `job` that writes `log` is granted, as of now.
    fn open(&self, job: &Job, log: &Arc<LogBuffer>) -> Capabilities;

    /// Forgets what jobs of a plugin kept that was just removed.
    async fn forget(&self, tenant: &TenantName, plugin: &PluginName) {
        let _ = (tenant, plugin);
    }
}

/// What an attempt is granted: by the word, and to the touch.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// What the operator said.
    pub grants: Arc<Grants>,
    /// What can be reached of it.
    pub outside: Arc<dyn HostServices>,
}

impl Capabilities {
    /// Nothing. What is asked for all the same is refused in `log`.
    #[must_use]
    pub fn nothing(log: &Arc<LogBuffer>) -> Self {
        Self { grants: Arc::default(), outside: Arc::new(Closed { log: log.clone() }) }
    }
}

impl Default for Capabilities {
    /// Nothing.
    fn default() -> Self {
        Self::nothing(&Arc::new(LogBuffer::new(0)))
    }
}

/// What one attempt reaches. Whoever implements it asks the grants, counts, and writes every refusal
/// to the attempt's log; dropping a future stops what it does.
#[async_trait]
pub trait HostServices: Debug + Send + Sync + 'static {
    /// Sends a request, and answers as soon as the head of the response is there; its body follows.
    ///
    /// # Errors
    /// [`HttpRequestError`] if it was not granted, or nothing came back.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeouts: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError>;

    /// Reads or changes a value that the plugin keeps.
    ///
    /// # Errors
    /// [`KeyValueError`] if it was not granted, or there is no room.
    async fn keep(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError>;

    /// The longest body that [`HostServices::send`] takes, in bytes: more need not be gathered.
    fn request_bytes(&self) -> u64;
}

/// Grants nothing to anybody.
#[derive(Debug, Clone, Copy)]
pub struct NoCapabilities;

#[async_trait]
impl CapabilityProvider for NoCapabilities {
    fn open(&self, _: &Job, log: &Arc<LogBuffer>) -> Capabilities {
        Capabilities::nothing(log)
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
impl HostServices for Closed {
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError> {
        Err(HttpRequestError::Denied(self.refused(NO_REQUEST)))
    }

    async fn keep(&self, _: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        Err(KeyValueError::Denied(self.refused("the plugin is granted no values to keep")))
    }

    fn request_bytes(&self) -> u64 {
        0
    }
}

/// Why a request is refused of a plugin that may send none.
pub const NO_REQUEST: &str = "the plugin is granted no request";
