//! Sends one HTTP request: looks up the name once, checks every address of it, connects to one of these
//! addresses, sends the request, and passes on the response as it arrives.
//!
//! Invariants: connections go only to checked addresses; there is no second lookup, redirects are not
//! followed and proxies not used; bodies stay within their limits and budgets; dropping a request closes its
//! connection.

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use jobwright_core::grant::HttpGrant;
use jobwright_core::grant::origin::{literal, port};
use jobwright_core::services::{HttpRequestError, Timeouts};
use jobwright_core::tenant::TenantName;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::RootCertStore;

use super::body_budget::{BodyBudget, HostBodyBudget};
use super::connect;
use super::exchange::{Connection, Exchange, ResponseSink};
use super::resolver::{Lookups, Resolver, System};
use super::response_body::{self, ResponseBody};
use super::tls::Tls;
use crate::shares::Shares;
use crate::shares::table::GUEST_REQUESTS;
use crate::telemetry::Refusals;

/// The timeout for connecting, and again for the TLS handshake, if the guest sets none.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The code of a refused address in the log of the host.
const DENIED_ADDRESS: &str = "denied_address";

/// The HTTP client of all attempts.
#[derive(Debug)]
pub struct Web {
    /// The runtime of connections: the threads of guests have timers, but no I/O.
    runtime: Handle,
    lookups: Lookups,
    tls: Tls,
    body_budget: HostBodyBudget,
    requests: Shares,
    refusals: Refusals,
}

/// A request whose method and origin are granted.
#[derive(Debug)]
pub(super) struct OutgoingRequest {
    pub(super) request: Request<Bytes>,
    /// The tenant of the attempt.
    pub(super) tenant: TenantName,
    /// The grants of its method and origin. One of them must reach all addresses of the host.
    pub(super) grants: Vec<HttpGrant>,
    /// The budget of its bodies.
    pub(super) budget: BodyBudget,
    /// The maximum length of the response's body.
    pub(super) max_response_bytes: u64,
    /// Whether the response must be complete and unencoded, because it is searched for secrets.
    pub(super) must_be_searchable: bool,
    pub(super) timeouts: Timeouts,
    /// One of the concurrent requests of its attempt, until the response has ended.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Web {
    /// A client with the resolver and the TLS roots of the machine, whose connections run on `runtime`.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        let lookups = Lookups::new(Arc::new(System));
        let (body_budget, requests) = (HostBodyBudget::default(), Shares::new(&GUEST_REQUESTS));
        let (tls, refusals) = (Tls::default(), Refusals::default());
        Self { runtime, lookups, tls, body_budget, requests, refusals }
    }

    /// Resolves names by `resolver`.
    #[must_use]
    pub fn resolving(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { lookups: Lookups::new(resolver), ..self }
    }

    /// Trusts `roots` instead of those of the machine.
    #[must_use]
    pub fn trusting(self, roots: RootCertStore) -> Self {
        Self { tls: Tls::trusting(roots), ..self }
    }

    /// The budget for the bodies of one attempt of `tenant`.
    pub(super) fn body_budget(&self, tenant: &TenantName, bytes: u64) -> BodyBudget {
        self.body_budget.of_attempt(tenant, bytes)
    }

    /// The runtime of connections, which has blocking threads for long computations too.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Sends a request, and returns its response when the head has arrived. Dropping the future or the body
    /// closes the connection.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        outgoing: OutgoingRequest,
    ) -> Result<Response<ResponseBody>, HttpRequestError> {
        let (web, mut tasks) = (self.clone(), JoinSet::new());
        let (body, pending) = response_body::channel(&outgoing.budget, outgoing.max_response_bytes);
        let (head_sender, head) = oneshot::channel();
        let mut sink = ResponseSink { head: Some(head_sender), body };
        let task = async move {
            let result = web.exchange(outgoing, &mut sink).await;
            sink.end(result);
        };
        tasks.spawn_on(task, &self.runtime);
        let stopped =
            |_| Err(HttpRequestError::Broken("the host failed, or is stopping".to_owned()));
        let head = head.await.unwrap_or_else(stopped)?;
        Ok(Response::from_parts(head, pending.filled_by(tasks)))
    }

    async fn exchange(
        &self,
        outgoing: OutgoingRequest,
        sink: &mut ResponseSink,
    ) -> Result<(), HttpRequestError> {
        let _in_flight = self.requests.of(&outgoing.tenant).acquire().await;
        // Until the response has ended: the guest may have dropped its copy of the body long before.
        let _bytes = outgoing.budget.try_acquire(outgoing.request.body().len() as u64)?;
        let connecting = self.connect(&outgoing);
        let connection = match outgoing.timeouts.connect {
            Some(limit) => in_time(limit, connecting).await?,
            None => connecting.await?,
        };
        let OutgoingRequest { mut request, must_be_searchable, timeouts, permit, .. } = outgoing;
        let _permit = permit;
        let to = std::mem::take(request.uri_mut());
        set_target(&mut request, &to)?;
        Exchange { must_be_searchable, timeouts, sink }.over(connection, request).await
    }

    /// A connection to a checked address of the host, with TLS for `https`.
    async fn connect(
        &self,
        outgoing: &OutgoingRequest,
    ) -> Result<Box<dyn Connection>, HttpRequestError> {
        let limit = outgoing.timeouts.connect.unwrap_or(CONNECT_DEADLINE);
        let to = outgoing.request.uri();
        let addresses = self.addresses(outgoing).await?;
        let stream = in_time(limit, connect::connect(addresses)).await?;
        if to.scheme_str() == Some("https") {
            let secured = self.tls.secure(to.host().unwrap_or_default(), stream);
            return Ok(Box::new(in_time(limit, secured).await?));
        }
        Ok(Box::new(stream))
    }

    /// The addresses of the host.
    ///
    /// # Errors
    /// If no grant reaches all of them.
    async fn addresses(
        &self,
        outgoing: &OutgoingRequest,
    ) -> Result<Vec<SocketAddr>, HttpRequestError> {
        let OutgoingRequest { tenant, grants, request, .. } = outgoing;
        let host = request.uri().host().unwrap_or_default();
        let invalid = || HttpRequestError::Denied("its port is invalid".to_owned());
        let port = port(request.uri()).ok_or_else(invalid)?;
        let addresses = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => self.lookups.addresses(tenant, host, port).await?,
        };
        let reaches = |grant: &HttpGrant| addresses.iter().all(|at| grant.reaches(at.ip()));
        if !grants.iter().any(reaches) {
            return Err(self.denied_address(outgoing, &addresses));
        }
        Ok(addresses)
    }

    /// The error for a name with an address that is not granted. Only the log of the host has the address:
    /// a guest with a grant for every host could use it to map the names of a network.
    fn denied_address(
        &self,
        outgoing: &OutgoingRequest,
        addresses: &[SocketAddr],
    ) -> HttpRequestError {
        let reached = |at: &&SocketAddr| outgoing.grants.iter().any(|grant| grant.reaches(at.ip()));
        let wrong = addresses.iter().find(|at| !reached(at)).or(addresses.first());
        let host = jobwright_core::name::shorten(outgoing.request.uri().host().unwrap_or_default());
        let address = wrong.map(|at| at.ip().to_string()).unwrap_or_default();
        if let Some(count) = self.refusals.due(DENIED_ADDRESS) {
            let (event, code, tenant) = ("refused", DENIED_ADDRESS, &outgoing.tenant);
            let message = "denied a request: the name has an address that is not granted";
            tracing::info!(event, code, count, %tenant, %host, %address, message);
        }
        HttpRequestError::DeniedAddress(format!(
            "`{host}` has an address that is not public and in no granted network"
        ))
    }
}

async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, HttpRequestError>>,
) -> Result<T, HttpRequestError> {
    timeout(limit, step).await.unwrap_or(Err(HttpRequestError::TimedOut(limit)))
}

/// Sets the target of the request to the origin form (RFC 9112, 3.2.1), and the header `host`.
fn set_target(request: &mut Request<Bytes>, to: &Uri) -> Result<(), HttpRequestError> {
    let wrong =
        |error: &dyn Display| HttpRequestError::Denied(format!("its address is invalid: {error}"));
    // An empty path becomes `/`.
    let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = PathAndQuery::try_from(format!("{}{query}", to.path()));
    *request.uri_mut() = Uri::from(target.map_err(|error| wrong(&error))?);
    let host = to.host().unwrap_or_default();
    let host = to.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let host = HeaderValue::try_from(host).map_err(|error| wrong(&error))?;
    request.headers_mut().insert(header::HOST, host);
    // hyper sets it to the length of the body.
    request.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(())
}
