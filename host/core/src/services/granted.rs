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
use crate::store::error::StoreError;
use crate::tenant::TenantName;

/// Resolves the grants of a plugin to the capabilities of an attempt.
#[async_trait]
pub trait CapabilityProvider: Send + Sync + 'static {
    /// The present capabilities of an attempt at `job`, which logs to `log`. The attempt keeps them to its
    /// end; a change of grants applies to attempts that start later.
    ///
    /// # Errors
    /// If the grants cannot be read: the attempt must not start without them.
    async fn open(&self, job: &Job, log: &Arc<LogBuffer>) -> Result<Capabilities, StoreError>;

    /// Removes the stored data of a plugin that was removed.
    async fn forget(&self, tenant: &TenantName, plugin: &PluginName) {
        let _ = (tenant, plugin);
    }
}

/// The capabilities of an attempt: its grants, and the host services that enforce them.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The plugin's grants.
    pub grants: Arc<Grants>,
    /// The host services that enforce them.
    pub services: Arc<dyn HostServices>,
}

impl Capabilities {
    /// No capabilities. Calls are refused and logged to `log`.
    #[must_use]
    pub fn nothing(log: &Arc<LogBuffer>) -> Self {
        Self { grants: Arc::default(), services: Arc::new(Closed { log: log.clone() }) }
    }
}

impl Default for Capabilities {
    /// No capabilities.
    fn default() -> Self {
        Self::nothing(&Arc::new(LogBuffer::new(0)))
    }
}

/// The host services of one attempt. An implementation checks the grants, counts against their
/// limits, and logs every refusal to the attempt's log. Dropping a future cancels the call.
#[async_trait]
pub trait HostServices: Debug + Send + Sync + 'static {
    /// Sends a request. Returns as soon as the head of the response has arrived; the body follows.
    ///
    /// # Errors
    /// [`HttpRequestError`] if it was not granted, or nothing came back.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeouts: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError>;

    /// Reads or changes a value of the plugin's key-value store.
    ///
    /// # Errors
    /// [`KeyValueError`] if it was not granted, or there is no room.
    async fn key_value(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError>;

    /// The longest body that [`HostServices::send`] takes, in bytes: more need not be gathered.
    fn request_bytes(&self) -> u64;
}

/// Grants no capabilities to any plugin.
#[derive(Debug, Clone, Copy)]
pub struct NoCapabilities;

#[async_trait]
impl CapabilityProvider for NoCapabilities {
    async fn open(&self, _: &Job, log: &Arc<LogBuffer>) -> Result<Capabilities, StoreError> {
        Ok(Capabilities::nothing(log))
    }
}

/// The host services of an attempt without capabilities: they refuse every call.
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

    async fn key_value(&self, _: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        Err(KeyValueError::Denied(self.refused("the plugin is not granted a key-value store")))
    }

    fn request_bytes(&self) -> u64 {
        0
    }
}

/// Why a request of a plugin without HTTP grants is refused.
pub const NO_REQUEST: &str = "the plugin is not granted HTTP requests";
