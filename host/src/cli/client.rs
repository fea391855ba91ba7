//! The way to a host.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::{Bytes, BytesMut};
use jobwright_core::limits::show_bytes;
use jobwright_core::tenant::TenantName;
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::HostOptions;
use super::channel::Channel;
use super::exit::{Failure, Fault};
use super::options::has_control;

/// How long to try to reach the host.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The longest that one request may take; waits are asked for in shorter steps.
const REQUEST_DEADLINE: Duration = Duration::from_secs(180);

/// The longest plugin, payload, output or log that is taken: eight times the longest plugin that a
/// host takes by default, which is the longest of them.
pub(super) const FILE_BYTES: u64 = 256 << 20;

/// The longest JSON: a job's has its output in it, and this is four times the longest of those.
const JSON_BYTES: u64 = 64 << 20;

/// The longest text of what is wrong: a batch has some for each of a thousand jobs.
const PROBLEM_BYTES: u64 = 1 << 20;

/// Speaks to one host.
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
        if key.as_deref().is_some_and(has_control) {
            let message = "the API key (--api-key or JOBWRIGHT_API_KEY) contains a control character, \
                           perhaps a line break at its end";
            return Err(Fault::Usage.says(message).into());
        }
        if key.is_some() || channel.has_credentials() {
            channel.protects("the API key")?;
        }
        let http = channel.client()?;
        let http = http.connect_timeout(CONNECT_DEADLINE).timeout(REQUEST_DEADLINE).build()?;
        Ok(Self { http, channel, key, tenant })
    }

    /// Refuses to send or receive `what` where others on the network could read it.
    ///
    /// # Errors
    /// With what to do.
    pub(super) fn protects(&self, what: &str) -> anyhow::Result<()> {
        Ok(self.channel.protects(what)?)
    }

    /// A request for the path made of `segments`, each escaped.
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

    /// The answer, if it is a success; else what the host says is wrong.
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let mut request = request.build()?;
        escape_blanks(request.url_mut());
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
        let problem = whole(response, PROBLEM_BYTES).await.ok();
        let problem = problem.and_then(|problem| serde_json::from_slice(&problem).ok());
        let failure = Failure::of_host(status.as_u16(), problem.unwrap_or_default());
        Err(failure.retried_after(retry_after).into())
    }

    /// The answer's JSON.
    pub(super) async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        json_of(self.send(request).await?).await
    }

    /// The answer's bytes: a plugin, a payload, an output or a log.
    pub(super) async fn file(&self, request: RequestBuilder) -> anyhow::Result<Bytes> {
        whole(self.send(request).await?, FILE_BYTES).await
    }
}

#[cfg(test)]
impl Client {
    /// A client of a host that answers as `router` does.
    pub(super) async fn of(router: axum::Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, router).into_future());
        let (api_key, tenant, proxy, insecure_http) = (None, None, None, false);
        Self::new(HostOptions { host, api_key, tenant, proxy, insecure_http }).expect("a client")
    }
}

/// Writes the blanks of a query as `%20`: `+` stands for one in forms only, and hosts read it as a plus.
fn escape_blanks(url: &mut Url) {
    // A plus itself is `%2B` already.
    if let Some(query) = url.query().map(|query| query.replace('+', "%20")) {
        url.set_query(Some(&query));
    }
}

/// The JSON of an answer.
pub(super) async fn json_of(response: Response) -> anyhow::Result<Value> {
    let text = whole(response, JSON_BYTES).await?;
    serde_json::from_slice(&text).context("the host's response is not JSON")
}

/// How long the host asks to wait before the next request (RFC 9110, 10.2.3; in seconds, as hosts do).
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body, if it is no longer than `most` bytes, whatever it says of itself: a host may be anybody's.
pub(super) async fn whole(mut response: Response, most: u64) -> anyhow::Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() as u64 > most {
            let message = format!("the host's response is longer than {}", show_bytes(most));
            return Err(Fault::Other.says(message).into());
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
    async fn a_blank_in_a_query_is_told_from_a_plus() {
        let answer = async |uri: Uri| Json(uri.query().map(str::to_owned));
        let client = Client::of(Router::new().route("/v1/jobs", get(answer))).await;
        let jobs = || client.request(Method::GET, &["jobs"]);
        let request = jobs().query(&[("queue", "a b+c")]);
        assert_eq!(client.json(request).await.expect("a query"), "queue=a%20b%2Bc");
        assert_eq!(client.json(jobs()).await.expect("none"), Value::Null);
    }
}
