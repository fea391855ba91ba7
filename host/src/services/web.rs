//! One request: its name looked up once, every address of it checked, a connection to one of those very
//! addresses, the request, the response as it arrives.
//!
//! Invariants: what is connected to was checked; there is no second look-up, no redirect is followed,
//! no proxy asked; no body is held longer or larger than it may be; a dropped request closes its
//! connection.

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{self, HeaderName};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jobwright_core::grant::HttpGrant;
use jobwright_core::grant::origin::{literal, port};
use jobwright_core::services::{
    HttpRequestError, MAX_HEAD_BYTES, MAX_HEADERS, Timeouts, header_bytes,
};
use jobwright_core::tenant::TenantName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::RootCertStore;

use super::arriving::{self, Arriving, Filling};
use super::connecting;
use super::resolver::{LookUps, Resolver, System};
use super::room::{HostRoom, Room};
use super::tls::Tls;
use crate::shares::Shares;
use crate::shares::table::GUEST_REQUESTS;
use crate::telemetry::Refusals;

/// How long a connection may take, and then its security, if the guest says nothing of it.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// What is read of the head of a response, in bytes: its headers, and more than any status line.
const HEAD_BYTES: usize = MAX_HEAD_BYTES + (8 << 10);

/// Headers of a response that are of the connection, and that nobody gets who has no part in it.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What a refusal for an address is called in the log of the host.
const DENIED_ADDRESS: &str = "denied_address";

/// The way to other hosts, for all attempts.
#[derive(Debug)]
pub struct Web {
    /// Where sockets are waited for: guests' own threads wait for time only.
    threads: Handle,
    look_ups: LookUps,
    tls: Tls,
    room: HostRoom,
    requests: Shares,
    refusals: Refusals,
}

/// One request that was allowed by its name.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) request: Request<Bytes>,
    /// Whose it is.
    pub(super) tenant: TenantName,
    /// One of these must let it reach all addresses of its name.
    pub(super) allowing: Vec<HttpGrant>,
    /// Where its bodies are held.
    pub(super) room: Room,
    /// The longest response, in bytes.
    pub(super) most: u64,
    /// Whether the response must be whole, and not encoded: it is searched for what must not come back.
    pub(super) plain: bool,
    pub(super) timeouts: Timeouts,
    /// Its turn among the requests of its attempt, until the response has ended.
    pub(super) turn: OwnedSemaphorePermit,
}

/// Where a response goes.
struct Answer {
    /// Until the head was sent.
    head: Option<oneshot::Sender<Result<Parts, HttpRequestError>>>,
    body: Filling,
}

impl Answer {
    fn end(self, how: Result<(), HttpRequestError>) {
        match (self.head, how) {
            (Some(head), Err(unsent)) => drop(head.send(Err(unsent))),
            (_, how) => self.body.end(how),
        }
    }
}

/// What requests are sent over.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

impl Web {
    /// Names and roots as the machine has them; `threads` wait for what comes.
    #[must_use]
    pub fn new(threads: Handle) -> Self {
        let look_ups = LookUps::new(Arc::new(System));
        let (room, requests) = (HostRoom::default(), Shares::new(&GUEST_REQUESTS));
        let (tls, refusals) = (Tls::default(), Refusals::default());
        Self { threads, look_ups, tls, room, requests, refusals }
    }

    /// Names as `resolver` has them.
    #[must_use]
    pub fn resolving(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { look_ups: LookUps::new(resolver), ..self }
    }

    /// Trusts these roots instead of the machine's.
    #[must_use]
    pub fn trusting(self, roots: RootCertStore) -> Self {
        Self { tls: Tls::trusting(roots), ..self }
    }

    /// Room for the bodies of one attempt of `tenant`.
    pub(super) fn room(&self, tenant: &TenantName, bytes: u64) -> Room {
        self.room.part(tenant, bytes)
    }

    /// Where what takes long is computed.
    pub(super) fn threads(&self) -> &Handle {
        &self.threads
    }

    /// Does an errand. Dropping the answer ends it.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        errand: Errand,
    ) -> Result<Response<Arriving>, HttpRequestError> {
        let (web, mut going) = (self.clone(), JoinSet::new());
        let (filling, ready) = arriving::ends(&errand.room, errand.most);
        let (head, begun) = oneshot::channel();
        let mut answer = Answer { head: Some(head), body: filling };
        let going_there = async move {
            let ended = web.go(errand, &mut answer).await;
            answer.end(ended);
        };
        going.spawn_on(going_there, &self.threads);
        let stopped =
            |_| Err(HttpRequestError::Broken("the host failed, or is about to stop".to_owned()));
        let head = begun.await.unwrap_or_else(stopped)?;
        Ok(Response::from_parts(head, ready.from(going)))
    }

    async fn go(&self, errand: Errand, answer: &mut Answer) -> Result<(), HttpRequestError> {
        let _under_way = self.requests.of(&errand.tenant).acquire().await;
        // Until all of it is sent: the guest may have let go of it long before.
        let _place = errand.room.take(errand.request.body().len() as u64)?;
        let connecting = self.connect(&errand);
        let connection = match errand.timeouts.connect {
            Some(limit) => in_time(limit, connecting).await?,
            None => connecting.await?,
        };
        let Errand { mut request, plain, timeouts, turn, .. } = errand;
        let _turn = turn;
        let to = std::mem::take(request.uri_mut());
        address_to(&mut request, &to)?;
        Exchange { plain, timeouts, answer }.over(connection, request).await
    }

    /// A connection to an address of the host, all of which were checked; secure if it is to be.
    async fn connect(&self, errand: &Errand) -> Result<Box<dyn Connection>, HttpRequestError> {
        let limit = errand.timeouts.connect.unwrap_or(CONNECT_DEADLINE);
        let to = errand.request.uri();
        let addresses = self.addresses(errand).await?;
        let stream = in_time(limit, connecting::connect(addresses)).await?;
        if to.scheme_str() == Some("https") {
            let secured = self.tls.secure(to.host().unwrap_or_default(), stream);
            return Ok(Box::new(in_time(limit, secured).await?));
        }
        Ok(Box::new(stream))
    }

    /// The addresses of the host, all of which one grant reaches.
    async fn addresses(&self, errand: &Errand) -> Result<Vec<SocketAddr>, HttpRequestError> {
        let Errand { tenant, allowing, request, .. } = errand;
        let host = request.uri().host().unwrap_or_default();
        let unreadable = || HttpRequestError::Denied("its port cannot be read".to_owned());
        let port = port(request.uri()).ok_or_else(unreadable)?;
        let addresses = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => self.look_ups.addresses(tenant, (host, port)).await?,
        };
        let reaches = |grant: &HttpGrant| addresses.iter().all(|at| grant.reaches(at.ip()));
        if !allowing.iter().any(reaches) {
            return Err(self.refused(errand, &addresses));
        }
        Ok(addresses)
    }

    /// Refuses a name for an address of it. Which one is for the operator to read: with a grant for every
    /// host, a guest could map the names of a network.
    fn refused(&self, errand: &Errand, addresses: &[SocketAddr]) -> HttpRequestError {
        let reached = |at: &&SocketAddr| errand.allowing.iter().any(|grant| grant.reaches(at.ip()));
        let wrong = addresses.iter().find(|at| !reached(at)).or(addresses.first());
        let host = jobwright_core::name::shorten(errand.request.uri().host().unwrap_or_default());
        let address = wrong.map(|at| at.ip().to_string()).unwrap_or_default();
        if let Some(count) = self.refusals.due(DENIED_ADDRESS) {
            let (event, code, tenant) = ("refused", DENIED_ADDRESS, &errand.tenant);
            let message = "refused a request to an address";
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

/// Makes the target that which servers are sent (RFC 9112, 3.2.1), and names who is asked.
fn address_to(request: &mut Request<Bytes>, to: &Uri) -> Result<(), HttpRequestError> {
    let wrong = |error: &dyn Display| {
        HttpRequestError::Denied(format!("no address to send it to: {error}"))
    };
    // A path that is empty is `/` on the way.
    let query = to.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = PathAndQuery::try_from(format!("{}{query}", to.path()));
    *request.uri_mut() = Uri::from(target.map_err(|error| wrong(&error))?);
    let host = to.host().unwrap_or_default();
    let host = to.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let host = HeaderValue::try_from(host).map_err(|error| wrong(&error))?;
    request.headers_mut().insert(header::HOST, host);
    // Written by who writes the body, whose length it is.
    request.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(())
}

/// A request and its response over one connection.
struct Exchange<'a> {
    plain: bool,
    timeouts: Timeouts,
    answer: &'a mut Answer,
}

impl Exchange<'_> {
    /// Sends the request, and hands on the response as it arrives. Both ends of the connection are this
    /// future.
    async fn over(
        self,
        connection: Box<dyn Connection>,
        request: Request<Bytes>,
    ) -> Result<(), HttpRequestError> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(broken)?;
        let asking = async move {
            let responding = sender.send_request(request.map(Full::new));
            let response = match self.timeouts.first_byte {
                Some(limit) => {
                    let late = |_| HttpRequestError::NoResponse(limit);
                    timeout(limit, responding).await.map_err(late)?
                }
                None => responding.await,
            };
            self.receive(response.map_err(broken)?).await
        };
        match select(pin!(asking), pin!(connection)).await {
            Either::Left((ended, _)) => ended,
            // What has come before the end is still to be taken.
            Either::Right((_, asking)) => asking.await,
        }
    }

    async fn receive(self, response: Response<Incoming>) -> Result<(), HttpRequestError> {
        let Answer { head: tell, body: filling } = self.answer;
        let (mut head, mut body) = response.into_parts();
        self::head(&mut head, self.plain)?;
        filling.expect(body.size_hint().lower())?;
        if let Some(tell) = tell.take() {
            // A guest that is gone ends this soon.
            let _ = tell.send(Ok(head));
        }
        loop {
            let coming = body.frame();
            let frame = match self.timeouts.between_bytes {
                Some(limit) => {
                    timeout(limit, coming).await.map_err(|_| HttpRequestError::Stalled(limit))?
                }
                None => coming.await,
            };
            // Other frames are trailers.
            match frame {
                None => return Ok(()),
                Some(frame) => {
                    frame.map_err(broken)?.into_data().map_or(Ok(()), |data| filling.push(&data))?
                }
            }
        }
    }
}

/// Checks the head of a response, and removes what is of the connection.
fn head(head: &mut Parts, plain: bool) -> Result<(), HttpRequestError> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HttpRequestError::Broken("it switches to another protocol".to_owned()));
    }
    if header_bytes(&head.headers) > MAX_HEAD_BYTES {
        return Err(HttpRequestError::ResponseHeadTooLong(MAX_HEAD_BYTES as u64));
    }
    if let Some(why) = unsearchable(head) {
        if plain {
            return Err(why.into());
        }
        head.extensions.insert(why);
    }
    for name in OF_THE_CONNECTION {
        head.headers.remove(name);
    }
    Ok(())
}

/// Why a secret would not be found in a response: what is said of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsearchable(&'static str);

impl From<Unsearchable> for HttpRequestError {
    fn from(Unsearchable(fault): Unsearchable) -> Self {
        let why = format!("it is {fault}, so that a secret might come back in it unseen");
        Self::Broken(why)
    }
}

fn unsearchable(head: &Parts) -> Option<Unsearchable> {
    let all_are = |name: HeaderName, plain: &str| {
        let mut values = head.headers.get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    };
    let part = [StatusCode::PARTIAL_CONTENT, StatusCode::IM_USED].contains(&head.status);
    let encoded = !all_are(header::CONTENT_ENCODING, "identity")
        || !all_are(header::TRANSFER_ENCODING, "chunked");
    part.then_some("a part").or(encoded.then_some("encoded")).map(Unsearchable)
}

/// With its cause, which says more.
fn broken(error: hyper::Error) -> HttpRequestError {
    if error.is_parse_too_large() {
        return HttpRequestError::ResponseHeadTooLong(MAX_HEAD_BYTES as u64);
    }
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    HttpRequestError::Broken(format!("{error}{}", cause.unwrap_or_default()))
}
