//! Host services: what guests with grants can use outside of their sandboxes.
//!
//! | file | owns |
//! |---|---|
//! | [`web`] | HTTP requests, each to a checked address |
//! | [`exchange`] | one request and its response over a connection |
//! | [`request`] | the checks of a request before it is sent |
//! | [`resolver`] | name lookups |
//! | [`connect`] | connecting to one of several addresses |
//! | [`tls`] | verifying the identity of the server |
//! | [`response_body`] | the buffer between a connection and its guest |
//! | [`body_budget`] | the memory budget of bodies |
//! | [`masking`] | masking secrets in responses |
//! | [`secrets`] | the file of secrets |
//! | [`values`] | the key-value store of plugins |
//!
//! Invariants: a request is sent only if a grant allows its method, its origin, and every address of its
//! host; secrets are sent only to their origins, and masked in responses; each refused call is a typed error
//! for the guest and a line in the log of its attempt; requests end with their attempt.

mod body_budget;
mod connect;
mod exchange;
mod masking;
mod request;
pub mod resolver;
mod response_body;
pub mod secrets;
mod tls;
pub mod values;
pub mod web;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jobwright_core::grant::{Grants, HttpGrant};
use jobwright_core::job::Job;
use jobwright_core::log::LogBuffer;
use jobwright_core::plugin::PluginName;
use jobwright_core::registry::PluginRegistry;
use jobwright_core::secret::{self, Mask, SecretStore, Secrets};
use jobwright_core::services::{
    Body, Capabilities, CapabilityProvider, HostServices, HttpRequestError, KeyValueCall,
    KeyValueError, KeyValueReply, NO_REQUEST, Timeouts, shown,
};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use tokio::sync::Semaphore;

use self::body_budget::BodyBudget;
use self::masking::{KnownSecrets, MaskedBody};
use self::values::{Namespace, Owner, Values};
use self::web::{OutgoingRequest, Web};

/// Gives each attempt the capabilities that its plugin is granted.
pub struct GrantedCapabilities {
    registry: Arc<dyn PluginRegistry>,
    shared: SharedServices,
}

/// The services that all attempts share.
#[derive(Debug, Clone)]
pub struct SharedServices {
    /// The secrets of all tenants.
    pub secrets: Arc<dyn SecretStore>,
    /// The HTTP client.
    pub web: Arc<Web>,
    /// The key-value store.
    pub values: Arc<Values>,
}

impl GrantedCapabilities {
    /// Resolves grants by the settings in `registry`.
    #[must_use]
    pub fn new(registry: Arc<dyn PluginRegistry>, shared: SharedServices) -> Self {
        Self { registry, shared }
    }
}

impl Debug for GrantedCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedCapabilities").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[async_trait]
impl CapabilityProvider for GrantedCapabilities {
    async fn open(&self, job: &Job, log: &Arc<LogBuffer>) -> Result<Capabilities, StoreError> {
        let plugin = self.registry.get(&job.spec.tenant, &job.spec.plugin).await?;
        let grants = plugin.map(|plugin| plugin.settings.grants.clone());
        let grants = Arc::new(grants.unwrap_or_default());
        let owner = Owner { tenant: job.spec.tenant.clone(), plugin: job.spec.plugin.clone() };
        let services =
            AttemptServices::new(owner, grants.clone(), self.shared.clone(), log.clone());
        Ok(Capabilities { grants, services: Arc::new(services) })
    }

    async fn forget(&self, tenant: &TenantName, plugin: &PluginName) {
        if let Err(error) = self.shared.values.remove(tenant, plugin).await {
            tracing::warn!(%tenant, %plugin, %error, "cannot remove the stored values of a plugin");
        }
    }
}

/// The host services of one attempt.
#[derive(Debug)]
pub struct AttemptServices {
    tenant: TenantName,
    grants: Arc<Grants>,
    shared: SharedServices,
    log: Arc<LogBuffer>,
    /// The number of requests so far that a grant allowed.
    sent: AtomicU32,
    /// One permit for each concurrent request.
    concurrent: Arc<Semaphore>,
    budget: BodyBudget,
    values: Namespace,
}

impl AttemptServices {
    /// The services of an attempt at the plugin of `owner`, which has `grants`. Refusals are logged to `log`.
    #[must_use]
    pub fn new(
        owner: Owner,
        grants: Arc<Grants>,
        shared: SharedServices,
        log: Arc<LogBuffer>,
    ) -> Self {
        let Owner { tenant, plugin } = owner;
        let limits = grants.http_limits;
        let concurrent = Arc::new(Semaphore::new(limits.concurrent.max(1) as usize));
        let each = limits.request_bytes.saturating_add(limits.response_bytes);
        let bytes = each.saturating_mul(u64::from(limits.concurrent.max(1)));
        let budget = shared.web.body_budget(&tenant, bytes);
        let values = Namespace {
            values: shared.values.clone(),
            tenant: tenant.clone(),
            plugin,
            grant: grants.key_value,
            log: log.clone(),
        };
        let sent = AtomicU32::new(0);
        Self { tenant, grants, shared, log, sent, concurrent, budget, values }
    }

    /// Checks a request against the grants, sends it, and masks secrets in the response.
    async fn send_granted(
        &self,
        request: Request<Bytes>,
        timeouts: Timeouts,
        shown: &str,
    ) -> Result<Response<Body>, HttpRequestError> {
        let secrets = KnownSecrets {
            secrets: self.shared.secrets.clone(),
            tenant: self.tenant.clone(),
            to: request.uri().clone(),
        };
        let outgoing = self.prepare(request, timeouts, shown).await?;
        let (mut head, body) = self.shared.web.fetch(outgoing).await?.into_parts();
        let unsearchable = head.extensions.remove();
        secrets.mask_head(&mut head, unsearchable, self.shared.web.runtime()).await?;
        let body = MaskedBody {
            body,
            secrets,
            unsearchable,
            web: self.shared.web.clone(),
            log: self.log.clone(),
            shown: shown.to_owned(),
            taken: None,
            has_ended: false,
        };
        Ok(Response::from_parts(head, Box::new(body)))
    }

    /// Checks a request against the grants and their limits, inserts secrets, and waits until the attempt may
    /// send it.
    async fn prepare(
        &self,
        mut request: Request<Bytes>,
        timeouts: Timeouts,
        shown: &str,
    ) -> Result<OutgoingRequest, HttpRequestError> {
        let limits = self.grants.http_limits;
        if self.grants.http.is_empty() {
            return Err(HttpRequestError::Denied(NO_REQUEST.to_owned()));
        }
        if let Some(line) = request::check_and_clean(&mut request, shown)? {
            self.log.write(line.as_bytes());
        }
        let grants = self.matching_grants(&request)?;
        if request.body().len() as u64 > limits.request_bytes {
            return Err(HttpRequestError::RequestTooLong(limits.request_bytes));
        }
        self.count(limits.requests)?;
        let (request, mask) = self.with_secrets(request)?;
        let stopping = |_| HttpRequestError::Broken("the host is stopping".to_owned());
        let permit = self.concurrent.clone().acquire_owned().await.map_err(stopping)?;
        Ok(OutgoingRequest {
            request,
            tenant: self.tenant.clone(),
            grants,
            budget: self.budget.clone(),
            max_response_bytes: limits.response_bytes,
            must_be_searchable: !mask.is_empty(),
            timeouts,
            permit,
        })
    }

    /// The request with the secrets that it names, and the mask for its response.
    fn with_secrets(
        &self,
        request: Request<Bytes>,
    ) -> Result<(Request<Bytes>, Mask), HttpRequestError> {
        let all = self.shared.secrets.of(&self.tenant).map_err(masking::unreadable)?;
        let hidden = all.known_to(request.uri());
        let (mut head, body) = request.into_parts();
        let find = |name: &_| all.get(name).cloned();
        let secrets = Secrets { granted: &self.grants.secrets, find, hidden: &hidden };
        let mask = secret::place(&mut head, &secrets);
        let mask = mask.map_err(|misplaced| HttpRequestError::Denied(misplaced.to_string()))?;
        Ok((Request::from_parts(head, body), mask))
    }

    /// The grants of the method and the origin of a request.
    ///
    /// # Errors
    /// If there is none.
    fn matching_grants(
        &self,
        request: &Request<Bytes>,
    ) -> Result<Vec<HttpGrant>, HttpRequestError> {
        let grants = self.grants.allowing(request.method(), request.uri());
        let grants: Vec<HttpGrant> = grants.cloned().collect();
        if grants.is_empty() {
            let why = "no grant allows this method and origin";
            return Err(HttpRequestError::Denied(why.to_owned()));
        }
        Ok(grants)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// If the attempt has sent `max` already.
    fn count(&self, max: u32) -> Result<(), HttpRequestError> {
        let one_more = |sent: u32| (sent < max).then_some(sent + 1);
        let counted = self.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.map(drop).map_err(|_| HttpRequestError::TooMany(max))
    }
}

#[async_trait]
impl HostServices for AttemptServices {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeouts: Timeouts,
    ) -> Result<Response<Body>, HttpRequestError> {
        let shown = shown(request.method(), request.uri());
        let response = self.send_granted(request, timeouts, &shown).await;
        response.inspect_err(|error| self.log.write(error.line(&shown).as_bytes()))
    }

    async fn key_value(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        self.values.call(call).await
    }

    fn request_bytes(&self) -> u64 {
        if self.grants.http.is_empty() { 0 } else { self.grants.http_limits.request_bytes }
    }
}
