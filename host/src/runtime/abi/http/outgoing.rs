//! What guests ask of others: `wasi:http/outgoing-handler` of components, whatever they are called by.
//!
//! Owns no grant and no socket: a request is gathered, handed to the attempt's
//! [`Outside`], and its answer or refusal put in the words of WASI. Invariants: no more of a guest's
//! bodies is held than it could send at a time; what a guest lets go of, or leaves behind, ends;
//! whatever is refused here is a line in the log, as what is refused there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::http::uri::Scheme;
use ::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use jobwright_core::limits::show_bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::outside::{Outside, Unsent, shown};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

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
    outside: Arc<dyn Outside>,
    log: Arc<LogBuffer>,
    /// Room for bodies that are being gathered.
    room: Arc<Semaphore>,
}

type Sent<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl Requests {
    pub(in super::super::super) fn new(outside: Arc<dyn Outside>, log: Arc<LogBuffer>) -> Self {
        let room = units(outside.request_bytes().saturating_mul(BEGUN));
        Self { outside, log, room: Arc::new(Semaphore::new(room as usize)) }
    }
}

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Sent<()>,
    ) -> Sent<(Response<WasiBody>, Sent<()>)> {
        let (outside, log, room) = (self.outside.clone(), self.log.clone(), self.room.clone());
        let sending = async move {
            let most = outside.request_bytes();
            let shown = shown(request.method(), request.uri());
            let request = gathered(request, &room, most).await.map_err(|fault| match fault {
                Fault::Refused(unsent) => {
                    log.write(unsent.line(&shown).as_bytes());
                    code(unsent)
                }
                Fault::Failed(error) => error,
            })?;
            outside.send(request).await.map_err(code)
        };
        Box::new(async move {
            let response = match patience(options) {
                Some(patience) => {
                    timeout(patience, sending).await.map_err(|_| Error::HttpResponseTimeout)??
                }
                None => sending.await?,
            };
            let whole = |body| Full::new(body).map_err(|never: Infallible| match never {});
            let all_done: Sent<()> = Box::new(async { Ok(()) });
            Ok((response.map(|body| whole(body).boxed_unsync()), all_done))
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
    Refused(Unsent),
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
            return Err(Fault::Refused(Unsent::RequestTooLong(most)));
        }
        let place = room.clone().try_acquire_many_owned(units(data.len() as u64));
        places.push(place.map_err(|_| Fault::Refused(no_room(most)))?);
        whole.extend_from_slice(&data);
    }
    Ok(Request::from_parts(head, whole.freeze()))
}

fn no_room(most: u64) -> Unsent {
    let all = show_bytes(most.saturating_mul(BEGUN));
    Unsent::NoRoom(format!("the attempt has begun requests of {all}, its maximum"))
}

/// How long the guest wants to wait. The response comes as a whole, so its times for the connection
/// and for the first byte are one; who says nothing of the latter waits as long as the attempt may.
fn patience(options: Option<RequestOptions>) -> Option<Duration> {
    let options = options?;
    let first_byte = options.first_byte_timeout?;
    Some(first_byte.saturating_add(options.connect_timeout.unwrap_or_default()))
}

/// A refusal in the words of `wasi:http`.
fn code(unsent: Unsent) -> Error {
    match unsent {
        Unsent::Denied(_) => Error::HttpRequestDenied,
        Unsent::DeniedAddress(_) => Error::DestinationIpProhibited,
        Unsent::TooMany(_) => Error::ConnectionLimitReached,
        Unsent::RequestTooLong(most) => Error::HttpRequestBodySize(Some(most)),
        Unsent::HeadTooLong(most) => {
            Error::HttpRequestHeaderSectionSize(Some(u32::try_from(most).unwrap_or(u32::MAX)))
        }
        Unsent::ResponseTooLong(most) => Error::HttpResponseBodySize(Some(most)),
        Unsent::Unresolved(_) => Error::DnsError { rcode: None, info_code: None },
        Unsent::Unconnected(_) => Error::ConnectionRefused,
        Unsent::Insecure(_) => Error::TlsCertificateError,
        Unsent::TimedOut(_) => Error::ConnectionTimeout,
        Unsent::Broken(_) => Error::HttpProtocolError,
        Unsent::NoRoom(_) => Error::InternalError(Some(unsent.to_string())),
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_waits_as_long_as_it_says_for_the_first_byte() {
        let seconds = |n: Option<u64>| n.map(Duration::from_secs);
        let options = |connect, first_byte| {
            Some(RequestOptions {
                connect_timeout: seconds(connect),
                first_byte_timeout: seconds(first_byte),
                between_bytes_timeout: None,
            })
        };
        assert_eq!(patience(options(Some(1), Some(2))), seconds(Some(3)));
        assert_eq!(patience(options(None, Some(2))), seconds(Some(2)));
        assert_eq!(patience(options(Some(1), None)), None);
        assert_eq!(patience(None), None);
    }
}
