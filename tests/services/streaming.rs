//! Slow responses: when a guest sees which part, and the timeouts that apply.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobwright_core::TenantName;
use jobwright_core::clock::Timestamp;
use jobwright_core::secret::Secret;
use jobwright_core::services::{Capabilities, HostServices as _, HttpRequestError, Timeouts};
use jobwright_tests::fetch::Fetch;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::{Names, Silent, TestServices, get};
use crate::runtime::fixture::{RuntimeFixture, attempt, output, small};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_response_is_read_as_it_arrives,
        an_abandoned_response_closes_the_connection,
        a_response_that_may_contain_a_secret_is_buffered,
        a_secret_set_during_a_response_is_masked_in_the_rest,
        an_unsearchable_response_is_cut_off_when_a_secret_is_set,
        the_first_byte_timeout_ends_with_the_head,
        the_connect_timeout_is_separate,
        the_between_bytes_timeout_is_per_piece,
        a_response_that_becomes_too_long_is_cut_off,
        unread_responses_do_not_delay_requests,
    ]
}

/// Runtimes with attempts in the host's process, and in processes of their own.
fn fixtures() -> anyhow::Result<[RuntimeFixture; 2]> {
    Ok([RuntimeFixture::new()?, RuntimeFixture::in_processes(small())?])
}

/// The output of a command that sends `fetch`, and its log.
async fn left(
    fixture: &RuntimeFixture,
    fetch: &Fetch,
    services: &TestServices,
) -> anyhow::Result<String> {
    let mut attempt = attempt(fixture.plugins.add(fetch.command()?))?;
    attempt.granted = Capabilities { services: services.reach.clone(), ..attempt.granted };
    Ok(String::from_utf8_lossy(&output(&fixture.run(attempt).await)?).into_owned())
}

fn to(server: &Server) -> Value {
    json!({ "http": [{ "origin": format!("http://{}", server.address()) }] })
}

fn asking(server: &Server) -> Fetch {
    Fetch { authority: server.address().to_string(), path: "/".to_owned(), ..Fetch::default() }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

async fn write(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
}

async fn chunk(stream: &mut TcpStream, text: &str) {
    write(stream, &format!("{:x}\r\n{text}\r\n", text.len())).await;
}

/// Waits until the other side has closed the connection.
async fn closed(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1]).await;
}

async fn a_response_is_read_as_it_arrives() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let server = Server::serving(|mut stream, _| async move {
            write(&mut stream, HEAD).await;
            chunk(&mut stream, "data: 1\n\n").await;
            // No more data follows, and no end.
            closed(stream).await;
        })
        .await?;
        let services = TestServices::granted(to(&server)).await?;
        let fetch = Fetch { first_piece: true, ..asking(&server) };
        assert_eq!(left(&fixture, &fetch, &services).await?, "data: 1\n\n");
    }
    Ok(())
}

async fn an_abandoned_response_closes_the_connection() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let (closes, mut has_closed) = mpsc::channel(1);
        let server = Server::serving(move |mut stream, _| {
            let closes = closes.clone();
            async move {
                write(&mut stream, HEAD).await;
                chunk(&mut stream, "first").await;
                closed(stream).await;
                let _ = closes.send(()).await;
            }
        })
        .await?;
        let services = TestServices::granted(to(&server)).await?;
        let fetch = Fetch { first_piece: true, ..asking(&server) };
        assert_eq!(left(&fixture, &fetch, &services).await?, "first");
        has_closed.recv().await;
    }
    Ok(())
}

async fn a_response_that_may_contain_a_secret_is_buffered() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let server = Server::serving(|mut stream, _| async move {
            write(&mut stream, HEAD).await;
            for piece in ["<s3cr", "3t-v4", "lue>"] {
                chunk(&mut stream, piece).await;
                sleep(Duration::from_millis(20)).await;
            }
            write(&mut stream, "0\r\n\r\n").await;
        })
        .await?;
        let origin = format!("http://{}", server.address());
        let services =
            TestServices::with(to(&server), |web| web, &[("KEY", "s3cr3t-v4lue", &origin)]).await?;
        let fetch = Fetch { first_piece: true, ..asking(&server) };
        assert_eq!(left(&fixture, &fetch, &services).await?, "<************>");
    }
    Ok(())
}

const VALUE: &str = "s3cr3t-v4lue";

/// A server that sends `head` and a first piece, and, when notified, the secret in two more pieces.
async fn telling_later(head: &'static str) -> anyhow::Result<(Server, Arc<Notify>)> {
    let goes_on = Arc::new(Notify::new());
    let gate = goes_on.clone();
    let server = Server::serving(move |mut stream, _| {
        let gate = gate.clone();
        async move {
            write(&mut stream, head).await;
            chunk(&mut stream, "first").await;
            gate.notified().await;
            for piece in VALUE.split_inclusive('-') {
                chunk(&mut stream, piece).await;
            }
            write(&mut stream, "0\r\n\r\n").await;
        }
    })
    .await?;
    Ok((server, goes_on))
}

/// The rest of such a response, read after a secret was set between its pieces.
async fn read_on(head: &'static str) -> anyhow::Result<Option<Result<Bytes, HttpRequestError>>> {
    let (server, goes_on) = telling_later(head).await?;
    let services = TestServices::granted(to(&server)).await?;
    let origin = format!("http://{}", server.address());
    let request = get(&format!("{origin}/"));
    let mut body = services.reach.send(request, Timeouts::default()).await?.into_body();
    assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"first"))));
    let secret = Secret {
        value: VALUE.to_owned().try_into()?,
        origins: vec![origin.parse()?],
        created_at: Timestamp::UNIX_EPOCH,
    };
    services.shared.secrets.set(&TenantName::default(), &"KEY".parse()?, secret).await?;
    goes_on.notify_one();
    Ok(body.next().await)
}

async fn a_secret_set_during_a_response_is_masked_in_the_rest() -> anyhow::Result<()> {
    let rest = read_on(HEAD).await?;
    assert_eq!(rest, Some(Ok(Bytes::from("*".repeat(VALUE.len())))));
    Ok(())
}

async fn an_unsearchable_response_is_cut_off_when_a_secret_is_set() -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
    let rest = read_on(head).await?;
    assert!(
        matches!(&rest, Some(Err(HttpRequestError::Broken(why))) if why.contains("encoded")),
        "{rest:?}"
    );
    Ok(())
}

async fn the_first_byte_timeout_ends_with_the_head() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let server = Server::serving(|mut stream, request| async move {
            if request.starts_with("GET /late ") {
                return closed(stream).await;
            }
            write(&mut stream, HEAD).await;
            sleep(Duration::from_millis(700)).await;
            chunk(&mut stream, "late").await;
            write(&mut stream, "0\r\n\r\n").await;
        })
        .await?;
        let fetch = Fetch { first_byte_ms: Some(400), ..asking(&server) };
        let services = TestServices::granted(to(&server)).await?;
        assert_eq!(left(&fixture, &fetch, &services).await?, "late");
        assert_eq!(services.log(), "");
        let fetch = Fetch { path: "/late".to_owned(), first_byte_ms: Some(100), ..fetch };
        // `connection-read-timeout`.
        assert_eq!(left(&fixture, &fetch, &services).await?, "E09");
        assert!(
            services.log().ends_with("/late: no response within 100ms\n"),
            "{}",
            services.log()
        );
    }
    Ok(())
}

async fn the_connect_timeout_is_separate() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let server = Server::answering(|_| Server::ok("hello")).await?;
        let port = server.address().port();
        let _silent = Silent::at("127.0.0.2", port).await?;
        let grants = json!({ "http": [
            { "origin": "http://a.example.com:*", "networks": ["127.0.0.0/8"] },
        ] });
        let fetch = Fetch {
            authority: format!("a.example.com:{port}"),
            connect_ms: Some(100),
            ..asking(&server)
        };
        for (address, answer) in [("127.0.0.1", "hello"), ("127.0.0.2", "E08")] {
            let services =
                TestServices::named(grants.clone(), &Names::meaning(&[&[address]])?).await?;
            assert_eq!(left(&fixture, &fetch, &services).await?, answer);
        }
    }
    Ok(())
}

async fn the_between_bytes_timeout_is_per_piece() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let server = Server::serving(|mut stream, request| async move {
            write(&mut stream, HEAD).await;
            for piece in ["a", "b", "c", "d", "e"] {
                chunk(&mut stream, piece).await;
                sleep(Duration::from_millis(150)).await;
            }
            if request.starts_with("GET /stalls ") {
                return closed(stream).await;
            }
            write(&mut stream, "0\r\n\r\n").await;
        })
        .await?;
        let services = TestServices::granted(to(&server)).await?;
        // Less than the whole response takes, and more than any piece.
        let fetch = Fetch { between_bytes_ms: Some(500), ..asking(&server) };
        assert_eq!(left(&fixture, &fetch, &services).await?, "abcde");
        assert_eq!(services.log(), "");
        let fetch = Fetch { path: "/stalls".to_owned(), ..fetch };
        assert_eq!(left(&fixture, &fetch, &services).await?, "abcde!");
        let line = "/stalls: the response stalled: no bytes arrived for 500ms\n";
        assert!(services.log().ends_with(line), "{}", services.log());
    }
    Ok(())
}

async fn a_response_that_becomes_too_long_is_cut_off() -> anyhow::Result<()> {
    for fixture in fixtures()? {
        let server = Server::serving(|mut stream, _| async move {
            write(&mut stream, HEAD).await;
            for _ in 0..3 {
                chunk(&mut stream, "four").await;
            }
            write(&mut stream, "0\r\n\r\n").await;
        })
        .await?;
        for (most, is_whole) in [(12, true), (11, false)] {
            let mut grants = to(&server);
            grants["http_limits"] = json!({ "response_bytes": most });
            let services = TestServices::granted(grants).await?;
            let answer = left(&fixture, &asking(&server), &services).await?;
            assert_eq!(answer == "fourfourfour", is_whole, "{answer}");
            assert_eq!(answer.ends_with('!'), !is_whole, "{answer}");
            assert_eq!(services.log().contains("longer than the limit of 11 bytes"), !is_whole);
        }
    }
    Ok(())
}

async fn unread_responses_do_not_delay_requests() -> anyhow::Result<()> {
    use jobwright_core::services::{HostServices as _, Timeouts};
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let mut grants = to(&server);
    grants["http_limits"] = json!({ "concurrent": 1 });
    let services = TestServices::granted(grants).await?;
    let url = format!("http://{}/", server.address());
    let mut unread = vec![];
    for _ in 0..5 {
        unread.push(services.reach.send(super::get(&url), Timeouts::default()).await?);
    }
    for response in unread {
        assert_eq!(response.into_body().rest().await?, "hello");
    }
    Ok(())
}
