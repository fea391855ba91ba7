//! What comes back, from servers that mean no good: never more than may be held, never longer than
//! the attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use jobwright_core::services::{HostServices as _, HttpRequestError};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{Stage, get};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_response_of_its_most_is_taken_and_one_byte_more_is_not,
        an_endless_response_is_cut_off_at_its_most,
        a_length_that_is_too_much_is_refused_before_it_comes,
        a_response_that_breaks_off_is_no_response,
        what_comes_after_the_length_is_not_taken,
        what_is_no_http_is_no_response,
        a_head_without_end_is_given_up,
        a_response_in_chunks_is_whole,
        answers_without_bodies_are_taken,
        a_request_of_its_most_is_sent_and_one_byte_more_is_not,
        so_many_requests_are_sent_and_no_more,
        so_many_at_a_time_and_more_wait,
        what_nobody_waits_for_any_more_ends,
        responses_that_are_kept_are_counted,
    ]
}

/// An attempt that may ask this server, with these limits.
async fn asking(server: &Server, limits: Value) -> anyhow::Result<(Stage, String)> {
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }], "http_limits": limits });
    Ok((Stage::granted(grants).await?, format!("{origin}/")))
}

async fn a_response_of_its_most_is_taken_and_one_byte_more_is_not() -> anyhow::Result<()> {
    let server = Server::answering(|request| {
        let length = if request.starts_with("GET /more ") { 1001 } else { 1000 };
        // Without its length, until the connection closes: only counting tells.
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length)).into_bytes()
    })
    .await?;
    let (stage, url) = asking(&server, json!({ "response_bytes": 1000 })).await?;
    assert_eq!(stage.get(&url).await?.body().len(), 1000);
    let over = stage.get(&format!("{url}more")).await;
    assert_eq!(over.expect_err("too long"), HttpRequestError::ResponseTooLong(1000));
    let line = "/more: the response is longer than the 1000 bytes that \
        `grants.http_limits.response_bytes` allows\n";
    assert!(stage.log().ends_with(line), "{}", stage.log());
    Ok(())
}

async fn an_endless_response_is_cut_off_at_its_most() -> anyhow::Result<()> {
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = sent.clone();
    let server = Server::serving(move |mut stream, _| {
        let sent = counting.clone();
        async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {
                sent.fetch_add(4096, Ordering::Relaxed);
            }
        }
    })
    .await?;
    let (stage, url) = asking(&server, json!({ "response_bytes": 1 << 20 })).await?;
    let over = stage.get(&url).await;
    assert_eq!(over.expect_err("endless"), HttpRequestError::ResponseTooLong(1 << 20));
    // What lies in the buffers of the sockets beside.
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    Ok(())
}

async fn a_length_that_is_too_much_is_refused_before_it_comes() -> anyhow::Result<()> {
    let server = Server::serving(|mut stream, _| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
        let _ = stream.write_all(head).await;
        // The body never comes: whoever waits for it waits for ever.
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await?;
    let (stage, url) = asking(&server, json!({ "response_bytes": 1000 })).await?;
    assert_eq!(
        stage.get(&url).await.expect_err("too long"),
        HttpRequestError::ResponseTooLong(1000)
    );
    Ok(())
}

async fn a_response_that_breaks_off_is_no_response() -> anyhow::Result<()> {
    for broken in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        let server = Server::answering(move |_| broken.into()).await?;
        let (stage, url) = asking(&server, json!({})).await?;
        let answer = stage.get(&url).await;
        assert!(matches!(answer, Err(HttpRequestError::Broken(_))), "{broken}: {answer:?}");
        assert!(stage.log().contains("the response is broken: "), "{}", stage.log());
    }
    Ok(())
}

async fn what_comes_after_the_length_is_not_taken() -> anyhow::Result<()> {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\nmore".into()
    })
    .await?;
    let (stage, url) = asking(&server, json!({})).await?;
    assert_eq!(&stage.get(&url).await?.body()[..], b"hello");
    Ok(())
}

async fn what_is_no_http_is_no_response() -> anyhow::Result<()> {
    for wrong in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n bad: fold\r\n\0: x\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let server = Server::answering(move |_| wrong.into()).await?;
        let (stage, url) = asking(&server, json!({})).await?;
        let answer = stage.get(&url).await;
        assert!(matches!(answer, Err(HttpRequestError::Broken(_))), "{wrong}: {answer:?}");
    }
    Ok(())
}

async fn a_head_without_end_is_given_up() -> anyhow::Result<()> {
    let server = Server::serving(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-a: 12345678901234567890\r\n").await.is_ok() {}
    })
    .await?;
    let (stage, url) = asking(&server, json!({})).await?;
    let answer = stage.get(&url).await;
    assert_eq!(answer.expect_err("too long"), HttpRequestError::ResponseHeadTooLong(65_536));
    Ok(())
}

async fn a_response_in_chunks_is_whole() -> anyhow::Result<()> {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
          5\r\nhello\r\n1\r\n!\r\n0\r\nx-trailer: 1\r\n\r\n"
            .into()
    })
    .await?;
    let (stage, url) = asking(&server, json!({ "response_bytes": 6 })).await?;
    let response = stage.get(&url).await?;
    assert_eq!(&response.body()[..], b"hello!");
    assert!(response.headers().is_empty(), "{:?}", response.headers());
    Ok(())
}

async fn answers_without_bodies_are_taken() -> anyhow::Result<()> {
    let server = Server::answering(|request| {
        let head = if request.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n"
        } else {
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        };
        head.into()
    })
    .await?;
    let (stage, url) = asking(&server, json!({ "response_bytes": 0 })).await?;
    assert_eq!(stage.get(&url).await?.status(), 204);
    let mut head = get(&url);
    *head.method_mut() = http::Method::HEAD;
    assert_eq!(stage.send(head).await?.headers()["content-length"], "999999999");
    Ok(())
}

async fn a_request_of_its_most_is_sent_and_one_byte_more_is_not() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("")).await?;
    let (stage, url) = asking(&server, json!({ "request_bytes": 1000 })).await?;
    let post = |length| Request::post(&url).body(Bytes::from(vec![b'x'; length]));
    stage.send(post(1000)?).await?;
    let over = stage.send(post(1001)?).await.expect_err("too long");
    assert_eq!(over, HttpRequestError::RequestTooLong(1000));
    assert_eq!((server.seen().len(), stage.reach.request_bytes()), (1, 1000));
    Ok(())
}

async fn so_many_requests_are_sent_and_no_more() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("")).await?;
    let (stage, url) = asking(&server, json!({ "requests": 3 })).await?;
    for _ in 0..3 {
        stage.get(&url).await?;
    }
    for _ in 0..3 {
        assert_eq!(stage.get(&url).await.expect_err("too many"), HttpRequestError::TooMany(3));
    }
    assert_eq!(server.seen().len(), 3);
    assert!(stage.log().contains("the attempt has sent 3 requests, all that"));
    Ok(())
}

async fn so_many_at_a_time_and_more_wait() -> anyhow::Result<()> {
    let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (pass, here) = (gate.clone(), arrived.clone());
    let server = Server::serving(move |mut stream, request| {
        let (pass, here) = (pass.clone(), here.clone());
        async move {
            if request.starts_with("GET / ") {
                here.notify_one();
                let _turn = pass.acquire().await;
            }
            let _ = stream.write_all(&Server::ok("")).await;
        }
    })
    .await?;
    let (stage, url) = asking(&server, json!({ "concurrent": 2 })).await?;
    let held = || server.seen().iter().filter(|request| request.starts_with("GET / ")).count();
    let mut going = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (reach, request) = (stage.reach.clone(), get(&url));
        going.spawn(async move { super::sent(&reach, request).await });
    }
    while held() < 2 {
        arrived.notified().await;
    }
    // Others go there and back many times, in which a third would have arrived.
    let (others, _) = asking(&server, json!({})).await?;
    for _ in 0..50 {
        others.get(&format!("{url}at-once")).await?;
    }
    assert_eq!(held(), 2);
    gate.add_permits(5);
    while let Some(answer) = going.join_next().await {
        answer??;
    }
    assert_eq!(held(), 5);
    Ok(())
}

async fn what_nobody_waits_for_any_more_ends() -> anyhow::Result<()> {
    let (arrives, mut arrived) = mpsc::channel(1);
    let (closes, mut closed) = mpsc::channel(1);
    let server = Server::serving(move |mut stream, _| {
        let (arrives, closes) = (arrives.clone(), closes.clone());
        async move {
            let _ = arrives.send(()).await;
            // Ends when the other side closes, and only then.
            let _ = stream.read(&mut [0; 1]).await;
            let _ = closes.send(()).await;
        }
    })
    .await?;
    let (stage, url) = asking(&server, json!({})).await?;
    let (reach, request) = (stage.reach.clone(), get(&url));
    let sending = tokio::spawn(async move { super::sent(&reach, request).await });
    arrived.recv().await;
    sending.abort();
    closed.recv().await;
    Ok(())
}

async fn responses_that_are_kept_are_counted() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok(&"x".repeat(1 << 20))).await?;
    let limits = json!({ "concurrent": 2, "request_bytes": 0, "response_bytes": 1 << 20 });
    let (stage, url) = asking(&server, limits).await?;
    let mut kept = vec![stage.get(&url).await?, stage.get(&url).await?];
    let refused = stage.get(&url).await.expect_err("no room");
    assert!(matches!(refused, HttpRequestError::NoRoom(_)), "{refused}");
    kept.pop();
    stage.get(&url).await?;
    Ok(())
}
