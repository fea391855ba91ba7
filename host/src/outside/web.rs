//! The way of one request: its name looked up once, every address of it checked, a connection to one
//! of those very addresses, the request, the whole response.
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
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jobwright_core::grant::HttpGrant;
use jobwright_core::grant::origin::{literal, port};
use jobwright_core::outside::Unsent;
use jobwright_core::secret::Mask;
use jobwright_core::tenant::TenantName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::RootCertStore;

use super::resolver::{LookUps, Resolver, System};
use super::room::{Held, HostRoom, Room};
use super::tls::Tls;

/// How long one address may take to be connected to, and then to agree on a secure connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Addresses of a name that are tried, one after the other: two families, and one more of each.
const TRIES: usize = 4;

/// The head of a response, in bytes: four times what a guest may have in headers.
const HEAD_BYTES: usize = 64 << 10;

/// A body that takes longer than a millisecond to search, in bytes: it is searched apart, so that its
/// attempt, and others on its thread, can be stopped meanwhile.
const LONG_BYTES: usize = 64 << 10;

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

/// The way to other hosts, for all attempts.
#[derive(Debug)]
pub struct Web {
    /// Where sockets are waited for: guests' own threads wait for time only.
    threads: Handle,
    look_ups: LookUps,
    tls: Tls,
    room: HostRoom,
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
}

impl Web {
    /// Names and roots as the machine has them; `threads` wait for what comes.
    #[must_use]
    pub fn new(threads: Handle) -> Self {
        let look_ups = LookUps::new(Arc::new(System));
        Self { threads, look_ups, tls: Tls::default(), room: HostRoom::default() }
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

    /// Does an errand. Dropping the answer ends it.
    pub(super) async fn fetch(self: &Arc<Self>, errand: Errand) -> Result<Response<Held>, Unsent> {
        let (web, mut going) = (self.clone(), JoinSet::new());
        going.spawn_on(async move { web.go(errand).await }, &self.threads);
        match going.join_next().await {
            Some(Ok(answer)) => answer,
            _ => Err(Unsent::Broken("the host failed, or is about to stop".to_owned())),
        }
    }

    /// Covers in a response what must not come back. Dropping the answer lets go of it.
    pub(super) async fn covered(
        &self,
        response: Response<Held>,
        mask: Mask,
    ) -> Result<Response<Held>, Unsent> {
        let long = !mask.is_empty() && response.body().as_ref().len() > LONG_BYTES;
        let cover = move || {
            let (mut head, mut body) = response.into_parts();
            mask.cover_headers(&mut head.headers);
            mask.cover(body.bytes_mut());
            Response::from_parts(head, body)
        };
        if !long {
            return Ok(cover());
        }
        let covering = self.threads.spawn_blocking(cover).await;
        covering.map_err(|_| Unsent::Broken("the host failed, or is about to stop".to_owned()))
    }

    async fn go(&self, errand: Errand) -> Result<Response<Held>, Unsent> {
        let Errand { mut request, tenant, allowing, room, most, plain } = errand;
        // Until all of it is sent: the guest may have let go of it long before.
        let _place = room.take(request.body().len() as u64)?;
        let to = request.uri().clone();
        let stream = self.connect(&tenant, &to, &allowing).await?;
        address_to(&mut request, &to)?;
        let mut response = if to.scheme_str() == Some("https") {
            let secured = self.tls.secure(to.host().unwrap_or_default(), stream);
            exchange(in_time(secured).await?, request, room.body(most)).await?
        } else {
            exchange(stream, request, room.body(most)).await?
        };
        if plain && let Some(fault) = unsearchable(&response) {
            let why = format!("it is {fault}, so that a secret might come back in it unseen");
            return Err(Unsent::Broken(why));
        }
        for name in OF_THE_CONNECTION {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }

    /// A connection to an address of who is asked, all of which were checked.
    async fn connect(
        &self,
        tenant: &TenantName,
        to: &Uri,
        allowing: &[HttpGrant],
    ) -> Result<TcpStream, Unsent> {
        let host = to.host().unwrap_or_default();
        let unreadable = || Unsent::Denied("its port cannot be read".to_owned());
        let port = port(to).ok_or_else(unreadable)?;
        let addresses = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => self.look_ups.addresses(tenant, (host, port)).await?,
        };
        let reaches = |grant: &HttpGrant| addresses.iter().all(|at| grant.reaches(at.ip()));
        if !allowing.iter().any(reaches) {
            return Err(refused(host, &addresses, allowing));
        }
        let mut failure = Unsent::Unresolved("it has no address".to_owned());
        for address in addresses.into_iter().take(TRIES) {
            match in_time(connected(address)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Says which address it is that must not be reached.
fn refused(host: &str, addresses: &[SocketAddr], allowing: &[HttpGrant]) -> Unsent {
    let reached = |at: &&SocketAddr| allowing.iter().any(|grant| grant.reaches(at.ip()));
    let wrong = addresses.iter().find(|at| !reached(at)).or(addresses.first());
    let wrong = wrong.map_or_else(String::new, |at| at.ip().to_string());
    let host = jobwright_core::name::shorten(host);
    Unsent::DeniedAddress(format!(
        "`{host}` has the address {wrong}, which is not public and in no granted network"
    ))
}

async fn connected(address: SocketAddr) -> Result<TcpStream, Unsent> {
    let failed = |error: std::io::Error| Unsent::Unconnected(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Requests are written whole.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn in_time<T>(step: impl Future<Output = Result<T, Unsent>>) -> Result<T, Unsent> {
    let late = |_| Err(Unsent::TimedOut(CONNECT_DEADLINE.as_secs()));
    timeout(CONNECT_DEADLINE, step).await.unwrap_or_else(late)
}

/// Makes the target that which servers are sent (RFC 9112, 3.2.1), and names who is asked.
fn address_to(request: &mut Request<Bytes>, to: &Uri) -> Result<(), Unsent> {
    let wrong = |error: &dyn Display| Unsent::Denied(format!("no address to send it to: {error}"));
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

/// Sends the request and takes all of the response. Both ends of the connection are this future.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Bytes>,
    body: Held,
) -> Result<Response<Held>, Unsent> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let asking = async move {
        let response = sender.send_request(request.map(Full::new)).await.map_err(broken)?;
        received(response, body).await
    };
    match select(pin!(asking), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // What has come before the end is still to be taken.
        Either::Right((_, asking)) => asking.await,
    }
}

async fn received(response: Response<Incoming>, mut held: Held) -> Result<Response<Held>, Unsent> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Unsent::Broken("it switches to another protocol".to_owned()));
    }
    let (head, mut body) = response.into_parts();
    held.expect(body.size_hint().lower())?;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            held.push(&data)?;
        }
    }
    Ok(Response::from_parts(head, held))
}

/// Why a secret would not be found in a response.
fn unsearchable(response: &Response<Held>) -> Option<&'static str> {
    let all_are = |name: HeaderName, plain: &str| {
        let mut values = response.headers().get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    };
    let part = [StatusCode::PARTIAL_CONTENT, StatusCode::IM_USED].contains(&response.status());
    let encoded = !all_are(header::CONTENT_ENCODING, "identity")
        || !all_are(header::TRANSFER_ENCODING, "chunked");
    part.then_some("a part").or(encoded.then_some("encoded"))
}

/// With its cause, which says more.
fn broken(error: hyper::Error) -> Unsent {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Unsent::Broken(format!("{error}{}", cause.unwrap_or_default()))
}
