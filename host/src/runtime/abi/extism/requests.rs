//! `http_request` of Extism: a request as JSON in one block, its body in another, and the body of the
//! response in a third.
//!
//! Invariant: a request that was not sent, or had no answer, leaves the guest running: it finds no
//! body, and a status that says why; the log says so too.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use jobwright_core::name::shorten;
use jobwright_core::outside::{MAX_HEAD_BYTES, Unsent};
use serde::Deserialize;
use wasmtime::{Caller, Linker};

use super::super::super::capability::Level;
use super::super::super::instance::Guest;
use super::ENV;

/// What a guest is told of its last request.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// 0 before the first.
    status: u16,
    /// As Extism writes them: a JSON object.
    headers: String,
}

/// A request as Extism's PDKs write it.
#[derive(Debug, Deserialize)]
struct Asked {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    method: Option<String>,
}

/// Offers it.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        ENV,
        "http_request",
        |mut p: Caller<'_, Guest>, (request, body): (u64, u64)| {
            Box::new(async move { p.data_mut().http_request(request, body).await })
        },
    )?;
    linker.func_wrap(ENV, "http_status_code", |mut p: Caller<'_, Guest>| {
        i32::from(p.data_mut().extism().answered.status)
    })?;
    linker.func_wrap(ENV, "http_headers", |mut p: Caller<'_, Guest>| {
        let headers = p.data_mut().extism().answered.headers.clone();
        p.data_mut().keep(headers.into_bytes())
    })?;
    Ok(())
}

impl Guest {
    /// Sends a request; answers the block of the response's body.
    async fn http_request(&mut self, request: u64, body: u64) -> u64 {
        let (request, body) = (self.taken(request), self.taken(body));
        if request.len() > MAX_HEAD_BYTES {
            // Before it is read: what is made of it takes several times as much.
            let (found, most) = (request.len(), MAX_HEAD_BYTES);
            let why = format!("its JSON has {found} bytes: {most} at most, and the body apart");
            return self.unanswered(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        let request = match read(&request, body) {
            Ok(request) => request,
            Err(why) => return self.unanswered(StatusCode::BAD_REQUEST, &why),
        };
        let answer = self.outside().send(request).await;
        let (answered, body) = match answer {
            Ok(response) => told(response),
            Err(unsent) => (Answered { status: status(&unsent), ..Answered::default() }, vec![]),
        };
        let length = body.len();
        let block = self.keep(body);
        if length > 0 && block == 0 {
            let why = format!("there is no memory left for the {length} bytes of its response");
            return self.unanswered(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
        self.extism().answered = answered;
        block
    }

    /// Says why a request has no answer; answers no block.
    fn unanswered(&mut self, status: StatusCode, why: &str) -> u64 {
        let message = format!("http_request refused: {why}");
        self.line().log(Level::Warn, "jobwright", message.as_bytes());
        self.extism().answered = Answered { status: status.as_u16(), ..Answered::default() };
        0
    }
}

fn read(text: &[u8], body: Vec<u8>) -> Result<Request<Bytes>, String> {
    let wrong = |what: &str, why: String| format!("its {what}: {why}");
    let asked: Asked =
        serde_json::from_slice(text).map_err(|error| wrong("JSON", error.to_string()))?;
    let uri: Uri = asked.url.parse().map_err(|_| wrong("url", shorten(&asked.url)))?;
    let method = asked.method.as_deref().unwrap_or("GET");
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method", shorten(method)))?;
    let mut request = Request::new(Bytes::from(body));
    (*request.uri_mut(), *request.method_mut()) = (uri, method);
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        match (name.parse::<http::HeaderName>(), value.parse()) {
            (Ok(name), Ok(value)) => {
                let added = headers.try_append(name, value);
                added.map_err(|_| wrong("headers", "there are too many".to_owned()))?;
            }
            _ => return Err(wrong("header", shorten(name))),
        }
    }
    *request.headers_mut() = headers;
    Ok(request)
}

fn told(response: Response<Bytes>) -> (Answered, Vec<u8>) {
    let (head, body) = response.into_parts();
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &head.headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let all = headers.entry(name.as_str()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&text);
    }
    let headers = serde_json::to_string(&headers).unwrap_or_default();
    (Answered { status: head.status.as_u16(), headers }, body.to_vec())
}

/// A refusal as a status (RFC 9110), since Extism has no other word for it.
fn status(unsent: &Unsent) -> u16 {
    match unsent {
        Unsent::Denied(_) | Unsent::DeniedAddress(_) => 403,
        Unsent::RequestTooLong(_) | Unsent::HeadTooLong(_) => 413,
        Unsent::TooMany(_) => 429,
        Unsent::NoRoom(_) => 503,
        Unsent::TimedOut(_) => 504,
        Unsent::ResponseTooLong(_)
        | Unsent::Unresolved(_)
        | Unsent::Unconnected(_)
        | Unsent::Insecure(_)
        | Unsent::Broken(_) => 502,
    }
}
