//! What guests reach outside of their sandboxes: the host's side of every grant.
//!
//! | file | owns |
//! |---|---|
//! | [`web`] | a request to an address that was checked, and its response |
//! | [`connecting`] | connecting to one of several addresses |
//! | [`tls`] | that the server is the one that was named |
//! | [`arriving`] | the body of a response between the connection and the guest |
//! | [`covering`] | that no secret is in it |
//! | [`resolver`] | which addresses a name has |
//! | [`room`] | how many bytes of bodies are held |
//! | [`request`] | what a guest may not say in a request, and what it need not |
//! | [`secrets`] | the file of secrets |
//! | [`values`] | what plugins keep from one job to the next |
//!
//! Invariants: nothing leaves without a grant that allows its method, where it goes by name, and every
//! address of that name; secrets leave only to where they belong, and do not come back; whatever is
//! refused is a typed error for the guest and a line in the log of its attempt; a request ends with
//! the attempt that sent it.

mod arriving;
mod connecting;
mod covering;
mod request;
pub mod resolver;
mod room;
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
use jobwright_core::tenant::TenantName;
use tokio::sync::Semaphore;

use self::covering::{Hidden, Reading};
use self::room::Room;
use self::values::{Namespace, Values};
use self::web::{Errand, Web};

/// Opens to each attempt what its plugin is granted.
pub struct GrantedCapabilities {
    registry: Arc<dyn PluginRegistry>,
    shared: SharedServices,
}

/// By what attempts reach outside.
#[derive(Debug, Clone)]
pub struct SharedServices {
    /// The secrets of all tenants.
    pub secrets: Arc<dyn SecretStore>,
    /// The way to other hosts.
    pub web: Arc<Web>,
    /// What plugins keep.
    pub values: Arc<Values>,
}

impl GrantedCapabilities {
    /// Looks up grants in `registry`.
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
    fn open(&self, job: &Job, log: &Arc<LogBuffer>) -> Capabilities {
        let plugin = self.registry.get(&job.spec.tenant, &job.spec.plugin);
        let grants = Arc::new(plugin.map(|plugin| plugin.settings.grants).unwrap_or_default());
        let owner = (job.spec.tenant.clone(), job.spec.plugin.clone());
        let reach = AttemptServices::new(owner, grants.clone(), self.shared.clone(), log.clone());
        Capabilities { grants, services: Arc::new(reach) }
    }

    async fn forget(&self, tenant: &TenantName, plugin: &PluginName) {
        if let Err(error) = self.shared.values.remove(tenant, plugin).await {
            tracing::warn!(%tenant, %plugin, %error, "cannot remove the values of a plugin");
        }
    }
}

/// What one attempt reaches.
#[derive(Debug)]
pub struct AttemptServices {
    tenant: TenantName,
    grants: Arc<Grants>,
    shared: SharedServices,
    log: Arc<LogBuffer>,
    /// Requests that were allowed, so far.
    sent: AtomicU32,
    /// One for each request that may be on its way at one time.
    turns: Arc<Semaphore>,
    room: Room,
    values: Namespace,
}

impl AttemptServices {
    /// An attempt at a plugin of a tenant with these `grants`, whose refusals go to `log`.
    #[must_use]
    pub fn new(
        (tenant, plugin): (TenantName, PluginName),
        grants: Arc<Grants>,
        shared: SharedServices,
        log: Arc<LogBuffer>,
    ) -> Self {
        let limits = grants.http_limits;
        let turns = Arc::new(Semaphore::new(limits.concurrent.max(1) as usize));
        let each = limits.request_bytes.saturating_add(limits.response_bytes);
        let bytes = each.saturating_mul(u64::from(limits.concurrent.max(1)));
        let room = shared.web.room(&tenant, bytes);
        let values = Namespace {
            values: shared.values.clone(),
            tenant: tenant.clone(),
            plugin,
            grant: grants.key_value,
            log: log.clone(),
        };
        let sent = AtomicU32::new(0);
        Self { tenant, grants, shared, log, sent, turns, room, values }
    }

    async fn answer(
        &self,
        mut request: Request<Bytes>,
        timeouts: Timeouts,
        shown: &str,
    ) -> Result<Response<Body>, HttpRequestError> {
        let limits = self.grants.http_limits;
        if self.grants.http.is_empty() {
            return Err(HttpRequestError::Denied(NO_REQUEST.to_owned()));
        }
        if let Some(line) = request::settle(&mut request, shown)? {
            self.log.write(line.as_bytes());
        }
        let allowing = self.allowing(&request)?;
        if request.body().len() as u64 > limits.request_bytes {
            return Err(HttpRequestError::RequestTooLong(limits.request_bytes));
        }
        self.count(limits.requests)?;
        let (tenant, to) = (self.tenant.clone(), request.uri().clone());
        let hidden = Hidden { secrets: self.shared.secrets.clone(), tenant, to };
        let (request, mask) = self.with_secrets(request)?;
        let turn = self.turns.clone().acquire_owned().await;
        let turn =
            turn.map_err(|_| HttpRequestError::Broken("the host is about to stop".to_owned()))?;
        let errand = Errand {
            request,
            tenant: self.tenant.clone(),
            allowing,
            room: self.room.clone(),
            most: limits.response_bytes,
            plain: !mask.is_empty(),
            timeouts,
            turn,
        };
        let (mut head, arriving) = self.shared.web.fetch(errand).await?.into_parts();
        let (web, log, shown) = (self.shared.web.clone(), self.log.clone(), shown.to_owned());
        let unsearchable = head.extensions.remove();
        hidden.cover_head(&mut head, unsearchable, web.threads()).await?;
        let (taken, is_over) = (None, false);
        let body = Reading { arriving, hidden, unsearchable, web, log, shown, taken, is_over };
        Ok(Response::from_parts(head, Box::new(body)))
    }

    /// The request with the secrets that it names, and what must be covered in the response.
    fn with_secrets(
        &self,
        request: Request<Bytes>,
    ) -> Result<(Request<Bytes>, Mask), HttpRequestError> {
        let hidden = self.shared.secrets.known_to(&self.tenant, request.uri());
        let (mut head, body) = request.into_parts();
        let find = |name: &_| self.shared.secrets.get(&self.tenant, name);
        let secrets = Secrets { granted: &self.grants.secrets, find, hidden: &hidden };
        let mask = secret::place(&mut head, &secrets);
        let mask = mask.map_err(|misplaced| HttpRequestError::Denied(misplaced.to_string()))?;
        Ok((Request::from_parts(head, body), mask))
    }

    /// The grants that allow it by name and method.
    fn allowing(&self, request: &Request<Bytes>) -> Result<Vec<HttpGrant>, HttpRequestError> {
        let allowing = self.grants.allowing(request.method(), request.uri());
        let allowing: Vec<HttpGrant> = allowing.cloned().collect();
        if allowing.is_empty() {
            return Err(HttpRequestError::Denied(
                "no grant allows this method and origin".to_owned(),
            ));
        }
        Ok(allowing)
    }

    /// Counts a request, if it is not one too many.
    fn count(&self, most: u32) -> Result<(), HttpRequestError> {
        let one_more = |sent: u32| (sent < most).then_some(sent + 1);
        let counted = self.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.map(drop).map_err(|_| HttpRequestError::TooMany(most))
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
        let answer = self.answer(request, timeouts, &shown).await;
        answer.inspect_err(|unsent| self.log.write(unsent.line(&shown).as_bytes()))
    }

    async fn key_value(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        self.values.call(call).await
    }

    fn request_bytes(&self) -> u64 {
        if self.grants.http.is_empty() { 0 } else { self.grants.http_limits.request_bytes }
    }
}
