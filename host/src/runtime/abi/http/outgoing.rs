//! HTTP requests of components: `wasi:http/outgoing-handler`.
//!
//! Owns no grant, no socket and no timer: a request is gathered and passed to the attempt's [`HostServices`]; its
//! response, as it arrives, or its refusal is translated to WASI. Invariants: no more of a guest's bodies is
//! held than it could send at a time; what a guest drops or leaves behind ends; every refusal is a line in
//! the log, here as in [`HostServices`].

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

/// What one write to a body may take: the host keeps two for each body, of which a guest may have a
/// third as many as it may hold resources.
const CHUNK_BYTES: usize = 16 << 10;

/// Requests that a guest may have begun to write at one time, if each is as long as it may be.
const BEGUN: u64 = 4;

/// The unit in which those are counted, in bytes.
const UNIT_BYTES: u64 = 1 << 10;

/// Asks for one guest.
#[derive(Debug)]
pub(in super::super::super) struct Requests {
    services: Arc<dyn HostServices>,
    log: Arc<LogBuffer>,
    /// Room for bodies that are being gathered.
    room: Arc<Semaphore>,
    /// Room for the headers of requests under way, which the guest has no handle to any more.
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

    /// Others are refused where all requests are, with a line in the log.
    fn is_supported_scheme(&mut self, _: &Scheme) -> bool {
        true
    }

    /// The address says it already.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

/// Why a request was not gathered.
enum Fault {
    Refused(HttpRequestError),
    /// By the guest itself.
    Failed(Error),
}

/// The request with all of its body. Of a guest that may send nothing, nothing is gathered: it is to
/// learn that, and not how long its body is.
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
        "the attempt has begun requests of {all}, its maximum: {BEGUN} times \
         `grants.http_limits.request_bytes`"
    ))
}

fn no_room_for_head() -> HttpRequestError {
    let all = show_bytes(header_size::MOST_BYTES as u64);
    HttpRequestError::NoRoom(format!(
        "the headers of the attempt's requests under way take {all}, the maximum"
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

/// A refusal in the words of `wasi:http`.
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
        // In the words of RFC 9209: nothing came within the limit that was set for it.
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
