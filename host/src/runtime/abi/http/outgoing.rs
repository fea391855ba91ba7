//! HTTP requests of components: `wasi:http/outgoing-handler`.
//!
//! Owns no grant, no socket and no timer: a request is gathered and passed to the attempt's
//! [`HostServices`]; its response, as it arrives, or its refusal is translated to WASI. Invariants:
//! the host holds no more of a guest's bodies than the guest could send at a time; requests and
//! bodies that a guest drops or leaves behind are aborted; every refusal is a line in the log, here
//! as in [`HostServices`].

use std::sync::Arc;

use ::http::uri::Scheme;
use ::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jobwright_core::limits::show_bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::services::{Body, HostServices, HttpRequestError, Timeouts, shown};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::header_size::{self, memory_bytes};

/// The maximum length of one write to a body: the host buffers two for each body, and a guest may
/// have a third as many bodies as resources.
const CHUNK_BYTES: usize = 16 << 10;

/// The number of requests of maximum length that a guest may write at one time.
const BEGUN: u64 = 4;

/// The unit in which those requests are counted, in bytes.
const UNIT_BYTES: u64 = 1 << 10;

/// Sends the requests of one guest.
#[derive(Debug)]
pub(in super::super::super) struct Requests {
    services: Arc<dyn HostServices>,
    log: Arc<LogBuffer>,
    /// Permits for bodies that are being read from the guest.
    room: Arc<Semaphore>,
    /// Permits for the headers of concurrent requests, to which the guest has no handle any more.
    heads: Arc<Semaphore>,
}

type Sent<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl Requests {
    pub(in super::super::super) fn new(
        services: Arc<dyn HostServices>,
        log: Arc<LogBuffer>,
    ) -> Self {
        let room = units(services.request_bytes().saturating_mul(BEGUN));
        let heads = units(header_size::MOST_BYTES as u64);
        let [room, heads] = [room, heads].map(|units| Arc::new(Semaphore::new(units as usize)));
        Self { services, log, room, heads }
    }
}

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Sent<()>,
    ) -> Sent<(Response<WasiBody>, Sent<()>)> {
        let (services, log, room) = (self.services.clone(), self.log.clone(), self.room.clone());
        let units = units(memory_bytes(request.headers()) as u64);
        let head = self.heads.clone().try_acquire_many_owned(units);
        let sending = async move {
            let most = services.request_bytes();
            let shown = shown(request.method(), request.uri());
            let refused = |unsent: HttpRequestError| {
                log.write(unsent.line(&shown).as_bytes());
                code(unsent)
            };
            let _head = head.map_err(|_| refused(no_room_for_head()))?;
            let request = gathered(request, &room, most).await.map_err(|fault| match fault {
                Fault::Refused(unsent) => refused(unsent),
                Fault::Failed(error) => error,
            })?;
            services.send(request, timeouts(options)).await.map_err(code)
        };
        Box::new(async move {
            let all_done: Sent<()> = Box::new(async { Ok(()) });
            Ok((sending.await?.map(streamed), all_done))
        })
    }

    /// Other schemes are refused where requests are checked, with a line in the log.
    fn is_supported_scheme(&mut self, _: &Scheme) -> bool {
        true
    }

    /// The address has the host already.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

/// Why a request was not read from the guest.
enum Fault {
    Refused(HttpRequestError),
    /// The guest itself failed to write it.
    Failed(Error),
}

/// The request with its whole body. The body of a guest without any grant is not read: the error is
/// that nothing is granted, not that the body is too long.
async fn gathered(
    request: Request<WasiBody>,
    room: &Arc<Semaphore>,
    most: u64,
) -> Result<Request<Bytes>, Fault> {
    let (head, mut body) = request.into_parts();
    let (mut whole, mut places) = (BytesMut::new(), vec![]);
    while most > 0
        && let Some(frame) = body.frame().await
    {
        // Other frames are trailers, which few servers take.
        let Ok(data) = frame.map_err(Fault::Failed)?.into_data() else { continue };
        if (whole.len() + data.len()) as u64 > most {
            return Err(Fault::Refused(HttpRequestError::RequestTooLong(most)));
        }
        let place = room.clone().try_acquire_many_owned(units(data.len() as u64));
        places.push(place.map_err(|_| Fault::Refused(no_room(most)))?);
        whole.extend_from_slice(&data);
    }
    Ok(Request::from_parts(head, whole.freeze()))
}

fn no_room(most: u64) -> HttpRequestError {
    let all = show_bytes(most.saturating_mul(BEGUN));
    HttpRequestError::NoRoom(format!(
        "the attempt has begun requests with bodies of {all}, its maximum: {BEGUN} times \
         `grants.http_limits.request_bytes`"
    ))
}

fn no_room_for_head() -> HttpRequestError {
    let all = show_bytes(header_size::MOST_BYTES as u64);
    HttpRequestError::NoRoom(format!(
        "the headers of the attempt's concurrent requests take {all}, the maximum"
    ))
}

/// The body of a response, each piece as it arrives.
fn streamed(body: Body) -> WasiBody {
    let pieces = stream::unfold(body, |mut body| async {
        let piece = body.next().await?;
        Some((piece.map(Frame::data).map_err(code), body))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn timeouts(options: Option<RequestOptions>) -> Timeouts {
    options.map_or_else(Timeouts::default, |options| Timeouts {
        connect: options.connect_timeout,
        first_byte: options.first_byte_timeout,
        between_bytes: options.between_bytes_timeout,
    })
}

/// The error code of `wasi:http` for a refusal.
fn code(unsent: HttpRequestError) -> Error {
    match unsent {
        HttpRequestError::Denied(_) => Error::HttpRequestDenied,
        HttpRequestError::DeniedAddress(_) => Error::DestinationIpProhibited,
        HttpRequestError::TooMany(_) => Error::ConnectionLimitReached,
        HttpRequestError::RequestTooLong(most) => Error::HttpRequestBodySize(Some(most)),
        HttpRequestError::HeadTooLong(most) => {
            Error::HttpRequestHeaderSectionSize(Some(u32::try_from(most).unwrap_or(u32::MAX)))
        }
        HttpRequestError::ResponseTooLong(most) => Error::HttpResponseBodySize(Some(most)),
        HttpRequestError::Unresolved(_) => Error::DnsError { rcode: None, info_code: None },
        HttpRequestError::Unconnected(_) => Error::ConnectionRefused,
        HttpRequestError::Insecure(_) => Error::TlsCertificateError,
        HttpRequestError::TimedOut(_) => Error::ConnectionTimeout,
        // As RFC 9209 defines the code: no bytes arrived within the time limit.
        HttpRequestError::NoResponse(_) | HttpRequestError::Stalled(_) => {
            Error::ConnectionReadTimeout
        }
        HttpRequestError::ResponseHeadTooLong(most) => {
            Error::HttpResponseHeaderSectionSize(Some(u32::try_from(most).unwrap_or(u32::MAX)))
        }
        HttpRequestError::Broken(_) => Error::HttpProtocolError,
        HttpRequestError::NoRoom(_) => Error::InternalError(Some(unsent.to_string())),
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}
