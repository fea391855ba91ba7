//! The cost of a grant. Measurements, ignored by default like those of [`crate::load`].

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::TestServices;
use crate::load::{percentile, spread};

pub(super) fn trials() -> Vec<Trial> {
    let measurements = tests![a_grant_adds_less_than_a_millisecond_to_a_request];
    measurements.into_iter().map(|trial| trial.with_ignored_flag(true)).collect()
}

/// Requests of each kind.
const REQUESTS: usize = 3000;

/// The target for the median.
const MOST: Duration = Duration::from_millis(1);

async fn a_grant_adds_less_than_a_millisecond_to_a_request() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok(&"x".repeat(1000))).await?;
    let (at, url) = (server.address(), format!("http://{}/", server.address()));
    let grants = json!({
        "http": [{ "origin": format!("http://{at}") }],
        "http_limits": { "requests": REQUESTS },
        "secrets": ["KEY"],
    });
    let origin = format!("http://{at}");
    let services =
        TestServices::with(grants, |web| web, &[("KEY", "s3cr3t-v4lue", &origin)]).await?;
    let (mut direct, mut granted) = (vec![], vec![]);
    // Alternating, so that other load on the machine affects both.
    for _ in 0..REQUESTS {
        let start = Instant::now();
        ensure!(directly(&url).await?.len() == 1000);
        direct.push(start.elapsed());
        let mut request = super::get(&url);
        request.headers_mut().insert("x-key", "jobwright-secret(KEY)".parse()?);
        let start = Instant::now();
        ensure!(services.send(request).await?.body().len() == 1000);
        granted.push(start.elapsed());
    }
    println!("by hyper alone: {}", spread(&mut direct));
    println!("through a grant, with a secret: {}", spread(&mut granted));
    let added = percentile(&granted, 50).saturating_sub(percentile(&direct, 50));
    println!("a grant adds {added:.1?} at p50");
    ensure!(added < MOST, "{added:?}");
    Ok(())
}

/// The same request on a separate connection, without the host's services.
async fn directly(url: &str) -> anyhow::Result<Bytes> {
    let uri: http::Uri = url.parse()?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let stream = TcpStream::connect(&authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", authority).header("x-key", "s3cr3t-v4lue");
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}
