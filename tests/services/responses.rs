//! Responses of malicious servers: bounded in size, and in time by the attempt.

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

use super::{TestServices, get};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_response_at_its_size_limit_is_accepted_and_one_byte_more_is_not,
        an_endless_response_is_cut_off_at_its_size_limit,
        a_content_length_above_the_limit_is_refused_before_the_body,
        an_incomplete_response_is_an_error,
        bytes_after_the_content_length_are_ignored,
        a_response_that_is_not_http_is_an_error,
        an_endless_response_head_is_refused,
        a_chunked_response_is_complete,
        responses_without_bodies_are_accepted,
        a_request_at_its_size_limit_is_sent_and_one_byte_more_is_not,
        the_number_of_requests_is_limited,
        requests_above_the_concurrency_limit_wait,
        abandoned_requests_are_cancelled,
        buffered_responses_count_towards_the_budget,
    ]
}

/// An attempt that may send requests to this server, with these limits.
async fn asking(server: &Server, limits: Value) -> anyhow::Result<(TestServices, String)> {
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }], "http_limits": limits });
    Ok((TestServices::granted(grants).await?, format!("{origin}/")))
}

async fn a_response_at_its_size_limit_is_accepted_and_one_byte_more_is_not() -> anyhow::Result<()> {
    let server = Server::answering(|request| {
        let length = if request.starts_with("GET /more ") { 1001 } else { 1000 };
        // Without a length, until the connection closes: the bytes must be counted.
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length)).into_bytes()
    })
    .await?;
    let (services, url) = asking(&server, json!({ "response_bytes": 1000 })).await?;
    assert_eq!(services.get(&url).await?.body().len(), 1000);
    let over = services.get(&format!("{url}more")).await;
    assert_eq!(over.expect_err("too long"), HttpRequestError::ResponseTooLong(1000));
    let line = "/more: the body of the response is longer than the limit of 1000 bytes \
                (`grants.http_limits.response_bytes`)\n";
    assert!(services.log().ends_with(line), "{}", services.log());
    Ok(())
}

async fn an_endless_response_is_cut_off_at_its_size_limit() -> anyhow::Result<()> {
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
    let (services, url) = asking(&server, json!({ "response_bytes": 1 << 20 })).await?;
    let over = services.get(&url).await;
    assert_eq!(over.expect_err("endless"), HttpRequestError::ResponseTooLong(1 << 20));
    // The socket buffers hold some more.
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 32 << 20, "{sent} bytes were read");
    Ok(())
}

async fn a_content_length_above_the_limit_is_refused_before_the_body() -> anyhow::Result<()> {
    let server = Server::serving(|mut stream, _| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
        let _ = stream.write_all(head).await;
        // The body never arrives: a host that waited for it would never return.
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await?;
    let (services, url) = asking(&server, json!({ "response_bytes": 1000 })).await?;
    assert_eq!(
        services.get(&url).await.expect_err("too long"),
        HttpRequestError::ResponseTooLong(1000)
    );
    Ok(())
}

async fn an_incomplete_response_is_an_error() -> anyhow::Result<()> {
    for broken in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        let server = Server::answering(move |_| broken.into()).await?;
        let (services, url) = asking(&server, json!({})).await?;
        let answer = services.get(&url).await;
        assert!(matches!(answer, Err(HttpRequestError::Broken(_))), "{broken}: {answer:?}");
        assert!(services.log().contains("the response is broken: "), "{}", services.log());
    }
    Ok(())
}

async fn bytes_after_the_content_length_are_ignored() -> anyhow::Result<()> {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\nmore".into()
    })
    .await?;
    let (services, url) = asking(&server, json!({})).await?;
    assert_eq!(&services.get(&url).await?.body()[..], b"hello");
    Ok(())
}

async fn a_response_that_is_not_http_is_an_error() -> anyhow::Result<()> {
    for wrong in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n bad: fold\r\n\0: x\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let server = Server::answering(move |_| wrong.into()).await?;
        let (services, url) = asking(&server, json!({})).await?;
        let answer = services.get(&url).await;
        assert!(matches!(answer, Err(HttpRequestError::Broken(_))), "{wrong}: {answer:?}");
    }
    Ok(())
}

async fn an_endless_response_head_is_refused() -> anyhow::Result<()> {
    let server = Server::serving(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-a: 12345678901234567890\r\n").await.is_ok() {}
    })
    .await?;
    let (services, url) = asking(&server, json!({})).await?;
    let answer = services.get(&url).await;
    assert_eq!(answer.expect_err("too long"), HttpRequestError::ResponseHeadTooLong(65_536));
    Ok(())
}

async fn a_chunked_response_is_complete() -> anyhow::Result<()> {
    let server = Server::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
          5\r\nhello\r\n1\r\n!\r\n0\r\nx-trailer: 1\r\n\r\n"
            .into()
    })
    .await?;
    let (services, url) = asking(&server, json!({ "response_bytes": 6 })).await?;
    let response = services.get(&url).await?;
    assert_eq!(&response.body()[..], b"hello!");
    assert!(response.headers().is_empty(), "{:?}", response.headers());
    Ok(())
}

async fn responses_without_bodies_are_accepted() -> anyhow::Result<()> {
    let server = Server::answering(|request| {
        let head = if request.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n"
        } else {
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        };
        head.into()
    })
    .await?;
    let (services, url) = asking(&server, json!({ "response_bytes": 0 })).await?;
    assert_eq!(services.get(&url).await?.status(), 204);
    let mut head = get(&url);
    *head.method_mut() = http::Method::HEAD;
    assert_eq!(services.send(head).await?.headers()["content-length"], "999999999");
    Ok(())
}

async fn a_request_at_its_size_limit_is_sent_and_one_byte_more_is_not() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("")).await?;
    let (services, url) = asking(&server, json!({ "request_bytes": 1000 })).await?;
    let post = |length| Request::post(&url).body(Bytes::from(vec![b'x'; length]));
    services.send(post(1000)?).await?;
    let over = services.send(post(1001)?).await.expect_err("too long");
    assert_eq!(over, HttpRequestError::RequestTooLong(1000));
    assert_eq!((server.seen().len(), services.reach.request_bytes()), (1, 1000));
    Ok(())
}

async fn the_number_of_requests_is_limited() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("")).await?;
    let (services, url) = asking(&server, json!({ "requests": 3 })).await?;
    for _ in 0..3 {
        services.get(&url).await?;
    }
    for _ in 0..3 {
        assert_eq!(services.get(&url).await.expect_err("too many"), HttpRequestError::TooMany(3));
    }
    assert_eq!(server.seen().len(), 3);
    assert!(services.log().contains("the attempt has sent 3 requests, the maximum of"));
    Ok(())
}

async fn requests_above_the_concurrency_limit_wait() -> anyhow::Result<()> {
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
    let (services, url) = asking(&server, json!({ "concurrent": 2 })).await?;
    let held = || server.seen().iter().filter(|request| request.starts_with("GET / ")).count();
    let mut going = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (reach, request) = (services.reach.clone(), get(&url));
        going.spawn(async move { super::sent(&reach, request).await });
    }
    while held() < 2 {
        arrived.notified().await;
    }
    // Many other requests complete meanwhile, in which time a third would have arrived.
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

async fn abandoned_requests_are_cancelled() -> anyhow::Result<()> {
    let (arrives, mut arrived) = mpsc::channel(1);
    let (closes, mut closed) = mpsc::channel(1);
    let server = Server::serving(move |mut stream, _| {
        let (arrives, closes) = (arrives.clone(), closes.clone());
        async move {
            let _ = arrives.send(()).await;
            // Returns when the other side closes the connection, and only then.
            let _ = stream.read(&mut [0; 1]).await;
            let _ = closes.send(()).await;
        }
    })
    .await?;
    let (services, url) = asking(&server, json!({})).await?;
    let (reach, request) = (services.reach.clone(), get(&url));
    let sending = tokio::spawn(async move { super::sent(&reach, request).await });
    arrived.recv().await;
    sending.abort();
    closed.recv().await;
    Ok(())
}

async fn buffered_responses_count_towards_the_budget() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok(&"x".repeat(1 << 20))).await?;
    let limits = json!({ "concurrent": 2, "request_bytes": 0, "response_bytes": 1 << 20 });
    let (services, url) = asking(&server, limits).await?;
    let mut kept = vec![services.get(&url).await?, services.get(&url).await?];
    let refused = services.get(&url).await.expect_err("no room");
    assert!(matches!(refused, HttpRequestError::NoRoom(_)), "{refused}");
    kept.pop();
    services.get(&url).await?;
    Ok(())
}
