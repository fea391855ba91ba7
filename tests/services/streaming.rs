//! Responses that take their time: what a guest sees of them when, and how long it waits for what.

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

use super::{Names, Silent, Stage, get};
use crate::runtime::fixture::{Lab, attempt, output, small};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_response_is_read_as_it_arrives,
        a_response_that_nobody_reads_on_ends,
        a_response_in_which_a_secret_may_be_comes_as_a_whole,
        a_secret_that_is_set_during_a_response_is_covered_in_the_rest,
        a_response_that_cannot_be_searched_breaks_off_when_a_secret_is_set,
        the_wait_for_the_first_byte_ends_with_the_head,
        the_wait_for_the_connection_is_its_own,
        the_wait_between_bytes_is_for_each_piece,
        a_response_that_becomes_too_long_breaks_off,
        responses_that_wait_to_be_read_do_not_hold_up_requests,
    ]
}

/// In the host, and in processes of their own.
fn labs() -> anyhow::Result<[Lab; 2]> {
    Ok([Lab::new()?, Lab::in_processes(small())?])
}

/// What a command leaves that sends `fetch`, and its log.
async fn left(lab: &Lab, fetch: &Fetch, stage: &Stage) -> anyhow::Result<String> {
    let mut attempt = attempt(lab.plugins.add(fetch.command()?))?;
    attempt.granted = Capabilities { services: stage.reach.clone(), ..attempt.granted };
    Ok(String::from_utf8_lossy(&output(&lab.run(attempt).await)?).into_owned())
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
    for lab in labs()? {
        let server = Server::serving(|mut stream, _| async move {
            write(&mut stream, HEAD).await;
            chunk(&mut stream, "data: 1\n\n").await;
            // There will be no more, and no end.
            closed(stream).await;
        })
        .await?;
        let stage = Stage::granted(to(&server)).await?;
        let fetch = Fetch { first_piece: true, ..asking(&server) };
        assert_eq!(left(&lab, &fetch, &stage).await?, "data: 1\n\n");
    }
    Ok(())
}

async fn a_response_that_nobody_reads_on_ends() -> anyhow::Result<()> {
    for lab in labs()? {
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
        let stage = Stage::granted(to(&server)).await?;
        let fetch = Fetch { first_piece: true, ..asking(&server) };
        assert_eq!(left(&lab, &fetch, &stage).await?, "first");
        has_closed.recv().await;
    }
    Ok(())
}

async fn a_response_in_which_a_secret_may_be_comes_as_a_whole() -> anyhow::Result<()> {
    for lab in labs()? {
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
        let stage =
            Stage::with(to(&server), |web| web, &[("KEY", "s3cr3t-v4lue", &origin)]).await?;
        let fetch = Fetch { first_piece: true, ..asking(&server) };
        assert_eq!(left(&lab, &fetch, &stage).await?, "<************>");
    }
    Ok(())
}

const VALUE: &str = "s3cr3t-v4lue";

/// A server that sends `head` and a first piece, and once it may go on the secret in two more.
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

/// What is read of such a response once a secret was set between its pieces.
async fn read_on(head: &'static str) -> anyhow::Result<Option<Result<Bytes, HttpRequestError>>> {
    let (server, goes_on) = telling_later(head).await?;
    let stage = Stage::granted(to(&server)).await?;
    let origin = format!("http://{}", server.address());
    let request = get(&format!("{origin}/"));
    let mut body = stage.reach.send(request, Timeouts::default()).await?.into_body();
    assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"first"))));
    let secret = Secret {
        value: VALUE.to_owned().try_into()?,
        origins: vec![origin.parse()?],
        created_at: Timestamp::UNIX_EPOCH,
    };
    stage.shared.secrets.set(&TenantName::default(), &"KEY".parse()?, secret).await?;
    goes_on.notify_one();
    Ok(body.next().await)
}

async fn a_secret_that_is_set_during_a_response_is_covered_in_the_rest() -> anyhow::Result<()> {
    let rest = read_on(HEAD).await?;
    assert_eq!(rest, Some(Ok(Bytes::from("*".repeat(VALUE.len())))));
    Ok(())
}

async fn a_response_that_cannot_be_searched_breaks_off_when_a_secret_is_set() -> anyhow::Result<()>
{
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
    let rest = read_on(head).await?;
    assert!(
        matches!(&rest, Some(Err(HttpRequestError::Broken(why))) if why.contains("encoded")),
        "{rest:?}"
    );
    Ok(())
}

async fn the_wait_for_the_first_byte_ends_with_the_head() -> anyhow::Result<()> {
    for lab in labs()? {
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
        let stage = Stage::granted(to(&server)).await?;
        assert_eq!(left(&lab, &fetch, &stage).await?, "late");
        assert_eq!(stage.log(), "");
        let fetch = Fetch { path: "/late".to_owned(), first_byte_ms: Some(100), ..fetch };
        // `connection-read-timeout`.
        assert_eq!(left(&lab, &fetch, &stage).await?, "E09");
        assert!(stage.log().ends_with("/late: no response within 100ms\n"), "{}", stage.log());
    }
    Ok(())
}

async fn the_wait_for_the_connection_is_its_own() -> anyhow::Result<()> {
    for lab in labs()? {
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
            let stage = Stage::named(grants.clone(), &Names::meaning(&[&[address]])?).await?;
            assert_eq!(left(&lab, &fetch, &stage).await?, answer);
        }
    }
    Ok(())
}

async fn the_wait_between_bytes_is_for_each_piece() -> anyhow::Result<()> {
    for lab in labs()? {
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
        let stage = Stage::granted(to(&server)).await?;
        // Less than all of it takes, and more than any piece.
        let fetch = Fetch { between_bytes_ms: Some(500), ..asking(&server) };
        assert_eq!(left(&lab, &fetch, &stage).await?, "abcde");
        assert_eq!(stage.log(), "");
        let fetch = Fetch { path: "/stalls".to_owned(), ..fetch };
        assert_eq!(left(&lab, &fetch, &stage).await?, "abcde!");
        let line = "/stalls: the response did not go on for 500ms\n";
        assert!(stage.log().ends_with(line), "{}", stage.log());
    }
    Ok(())
}

async fn a_response_that_becomes_too_long_breaks_off() -> anyhow::Result<()> {
    for lab in labs()? {
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
            let stage = Stage::granted(grants).await?;
            let answer = left(&lab, &asking(&server), &stage).await?;
            assert_eq!(answer == "fourfourfour", is_whole, "{answer}");
            assert_eq!(answer.ends_with('!'), !is_whole, "{answer}");
            assert_eq!(stage.log().contains("longer than the 11 bytes"), !is_whole);
        }
    }
    Ok(())
}

async fn responses_that_wait_to_be_read_do_not_hold_up_requests() -> anyhow::Result<()> {
    use jobwright_core::services::{HostServices as _, Timeouts};
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let mut grants = to(&server);
    grants["http_limits"] = json!({ "concurrent": 1 });
    let stage = Stage::granted(grants).await?;
    let url = format!("http://{}/", server.address());
    let mut unread = vec![];
    for _ in 0..5 {
        unread.push(stage.reach.send(super::get(&url), Timeouts::default()).await?);
    }
    for response in unread {
        assert_eq!(response.into_body().rest().await?, "hello");
    }
    Ok(())
}
