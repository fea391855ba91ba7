//! HTTP requests and headers as JSON, in the format of Extism's PDKs, which core modules that
//! import `jobwright` use too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use jobwright_core::name::shorten;
use jobwright_core::services::MAX_HEAD_BYTES;
use serde::Deserialize;

/// The longest JSON of a request, in bytes: headers of maximum length with each byte escaped.
pub(in crate::runtime) const MAX_JSON_BYTES: usize = 6 * MAX_HEAD_BYTES;

/// The JSON of a request.
#[derive(Debug, Deserialize)]
struct Asked {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    method: Option<String>,
}

/// The request that `text` describes, with this body.
pub(in crate::runtime) fn read(text: &[u8], body: Vec<u8>) -> Result<Request<Bytes>, String> {
    let wrong =
        |what: &str, value: &str, why: &str| format!("its {what} `{}` {why}", shorten(value));
    let asked: Asked =
        serde_json::from_slice(text).map_err(|error| format!("its JSON: {error}"))?;
    let url = ascii(&asked.url);
    let uri: Uri = url.parse().ok().filter(is_whole).ok_or_else(|| {
        wrong("url", &asked.url, "is not an address such as `https://example.com/path`")
    })?;
    // In capitals, as by Extism's own hosts and in grants.
    let method = asked.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    let method = method.as_str();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| wrong("method", method, "is not an HTTP method"))?;
    let mut request = Request::new(Bytes::from(body));
    (*request.uri_mut(), *request.method_mut()) = (uri, method);
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        match (name.parse::<http::HeaderName>(), value.parse()) {
            (Ok(name), Ok(value)) => {
                let added = headers.try_append(name, value);
                added.map_err(|_| "the request has too many headers".to_owned())?;
            }
            _ => {
                return Err(wrong("header", name, "has a name or a value that is invalid in HTTP"));
            }
        }
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// Whether the address has a scheme and a host, which grants are compared with.
fn is_whole(uri: &Uri) -> bool {
    uri.scheme().is_some() && uri.host().is_some()
}

/// An address whose other characters are escaped (RFC 3987, section 3.1): HTTP sends ASCII only.
fn ascii(url: &str) -> Cow<'_, str> {
    if url.is_ascii() {
        return Cow::Borrowed(url);
    }
    let escaped = url.bytes().map(|byte| match byte.is_ascii() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    Cow::Owned(escaped.collect())
}

/// The headers of a response as a JSON object.
pub(in crate::runtime) fn headers_json(headers: &HeaderMap) -> String {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let values = all.entry(name.as_str()).or_default();
        if !values.is_empty() {
            values.push_str(", ");
        }
        values.push_str(&text);
    }
    serde_json::to_string(&all).unwrap_or_default()
}
