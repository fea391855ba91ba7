//! An HTTP client of a host.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::{Bytes, BytesMut};
use jobwright_core::limits::show_bytes;
use jobwright_core::tenant::TenantName;
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::channel::Channel;
use super::exit::{Failure, Fault};
use super::host_options::HostOptions;
use super::options::has_control_character;

/// How long a connection attempt can take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a request can take. Commands that wait for a job send requests with shorter waits.
const REQUEST_DEADLINE: Duration = Duration::from_secs(180);

/// The maximum length of a plugin, payload, output or log: eight times the maximum length of a plugin
/// on a host with the default configuration.
pub(super) const FILE_BYTES: u64 = 256 << 20;

/// The maximum length of a JSON response. The longest is a job with its output, and this is four times
/// that.
const JSON_BYTES: u64 = 64 << 20;

/// The maximum length of an error response: a batch can have an error for each of 1,000 jobs.
const PROBLEM_BYTES: u64 = 1 << 20;

/// A client of one host.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    channel: Channel,
    key: Option<String>,
    tenant: Option<TenantName>,
}

impl Client {
    pub(super) fn new(options: HostOptions) -> anyhow::Result<Self> {
        let HostOptions { host, api_key: key, tenant, proxy, insecure_http } = options;
        let channel = Channel::new(&host, proxy.as_deref(), insecure_http)?;
        if key.as_deref().is_some_and(has_control_character) {
            let message = "the API key (--api-key or JOBWRIGHT_API_KEY) contains a control character, \
                           perhaps a line break at its end";
            return Err(Fault::Usage.failure(message).into());
        }
        if key.is_some() || channel.has_credentials() {
            channel.ensure_confidential("the API key")?;
        }
        let http = channel.client()?;
        let http = http.connect_timeout(CONNECT_DEADLINE).timeout(REQUEST_DEADLINE).build()?;
        Ok(Self { http, channel, key, tenant })
    }

    /// See [`Channel::ensure_confidential`].
    ///
    /// # Errors
    /// If `what` would be sent unencrypted.
    pub(super) fn ensure_confidential(&self, what: &str) -> anyhow::Result<()> {
        Ok(self.channel.ensure_confidential(what)?)
    }

    /// A request for the path `/v1/…`, with each of `segments` escaped.
    pub(super) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.channel.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        let mut request = self.http.request(method, url);
        if let Some(tenant) = &self.tenant {
            request = request.header("jobwright-tenant", tenant.as_str());
        }
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and returns the response.
    ///
    /// # Errors
    /// If the host cannot be reached, or its response is not a success: then the problem that it
    /// reported.
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let mut request = request.build()?;
        escape_spaces(request.url_mut());
        let response = self.http.execute(request).await.map_err(|error| {
            if error.is_connect() {
                anyhow!(error).context(self.channel.unreachable())
            } else {
                anyhow!(error)
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(&response);
        let problem = read_body(response, PROBLEM_BYTES).await.ok();
        let problem = problem.and_then(|problem| serde_json::from_slice(&problem).ok());
        let failure = Failure::of_host(status.as_u16(), problem.unwrap_or_default());
        Err(failure.with_retry_after(retry_after).into())
    }

    /// Sends a request and returns the JSON of the response.
    pub(super) async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        body_json(self.send(request).await?).await
    }

    /// Sends a request and returns the bytes of the response: a plugin, payload, output or log.
    pub(super) async fn file(&self, request: RequestBuilder) -> anyhow::Result<Bytes> {
        read_body(self.send(request).await?, FILE_BYTES).await
    }
}

#[cfg(test)]
impl Client {
    /// A client of a server that runs `router`.
    pub(super) async fn of(router: axum::Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, router).into_future());
        let (api_key, tenant, proxy, insecure_http) = (None, None, None, false);
        Self::new(HostOptions { host, api_key, tenant, proxy, insecure_http }).expect("a client")
    }
}

/// Encodes the spaces of a query as `%20`. reqwest encodes them as `+`, which hosts read as a plus sign.
fn escape_spaces(url: &mut Url) {
    // A literal plus sign is already encoded as `%2B`.
    if let Some(query) = url.query().map(|query| query.replace('+', "%20")) {
        url.set_query(Some(&query));
    }
}

/// The JSON of a response.
pub(super) async fn body_json(response: Response) -> anyhow::Result<Value> {
    let text = read_body(response, JSON_BYTES).await?;
    serde_json::from_slice(&text).context("the host's response is not JSON")
}

/// The header `Retry-After` (RFC 9110, 10.2.3), in seconds, which is the only form that hosts use.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads a body of at most `most` bytes. Does not rely on `Content-Length`, because hosts are not trusted.
pub(super) async fn read_body(mut response: Response, most: u64) -> anyhow::Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() as u64 > most {
            let message = format!("the host's response is longer than {}", show_bytes(most));
            return Err(Fault::Other.failure(message).into());
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use axum::routing::get;
    use axum::{Json, Router};

    use super::*;

    #[tokio::test]
    async fn spaces_and_plus_signs_in_a_query_are_distinct() {
        let answer = async |uri: Uri| Json(uri.query().map(str::to_owned));
        let client = Client::of(Router::new().route("/v1/jobs", get(answer))).await;
        let jobs = || client.request(Method::GET, &["jobs"]);
        let request = jobs().query(&[("queue", "a b+c")]);
        assert_eq!(client.json(request).await.expect("a query"), "queue=a%20b%2Bc");
        assert_eq!(client.json(jobs()).await.expect("none"), Value::Null);
    }
}
