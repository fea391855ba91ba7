//! Malicious and broken clients: they do not affect other clients.

use anyhow::ensure;
use jobwright_core::outcome::{Outcome, Output};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use super::wire::Wire;
use super::{Fixture, get, post, put, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        bytes_that_are_not_http_are_refused,
        endless_heads_are_refused,
        a_head_that_stops_arriving_times_out,
        bodies_that_stop_arriving_do_not_delay_other_requests,
        half_sent_requests_do_not_delay_the_shutdown,
        an_incomplete_body_creates_no_job,
        contradictory_lengths_are_refused,
        a_length_with_chunked_encoding_smuggles_no_request,
        an_encoded_body_is_refused,
        a_client_that_reads_nothing_does_not_delay_others,
        a_client_that_is_still_sending_gets_the_reason_of_a_refusal,
        many_requests_on_one_connection_are_answered_in_order,
    ]
}

const JOB: &str = "POST /v1/jobs?plugin=p HTTP/1.1\r\nhost: localhost\r\n";

async fn alive(fixture: &Fixture) -> anyhow::Result<()> {
    get(&fixture.host, "/healthz").await?.ok(200)?;
    fixture.submit(json!({})).await?;
    Ok(())
}

async fn bytes_that_are_not_http_are_refused() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    for noise in [
        tls,
        b"hello\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /healthz\0 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/1.1\r\nhost: local\0host\r\n\r\n".to_vec(),
        vec![0; 10_000],
    ] {
        Wire::with(&fixture.host, noise).await?.closed().await?;
    }
    for (line, statuses) in
        [("OPTIONS * HTTP/1.1", [404, 405]), ("CONNECT localhost:7878 HTTP/1.1", [400, 405])]
    {
        let mut wire =
            Wire::with(&fixture.host, format!("{line}\r\nhost: localhost\r\n\r\n")).await?;
        let (status, _) = wire.answer().await?;
        ensure!(statuses.contains(&status), "{line}: {status}");
    }
    alive(&fixture).await
}

async fn endless_heads_are_refused() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let long = "x".repeat(1 << 20);
    let many: String = (0..1000).map(|n| format!("x-{n}: y\r\n")).collect();
    for head in [
        format!("GET /v1/jobs/{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("GET /v1/jobs?tag={long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
        format!("GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
    ] {
        let mut wire = Wire::to(&fixture.host).await?;
        // The host may stop reading in the middle, which is also a refusal.
        if wire.send(head).await.is_ok()
            && let Ok((status, _)) = wire.answer().await
        {
            ensure!(matches!(status, 400 | 414 | 431), "{status}");
        }
    }
    // Requests that are read get a problem of the API.
    let long = format!("/v1/jobs/{}", "x".repeat(30_000));
    let answer = get(&fixture.host, &long).await?;
    assert_eq!(answer.code(400)?, "invalid_job_id");
    ensure!(answer.body.len() < 1000, "the response quotes all of it");
    let request = fixture.host.request(Method::GET, "/v1/jobs").header("host", "y".repeat(30_000));
    let answer = send(request).await?;
    assert_eq!(answer.code(403)?, "foreign_host");
    ensure!(answer.body.len() < 1000, "the response quotes all of it");
    alive(&fixture).await
}

async fn a_head_that_stops_arriving_times_out() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let half = Wire::with(&fixture.host, "GET /v1/jobs HTTP/1.1\r\nhost: local").await?;
    alive(&fixture).await?;
    half.closed().await
}

async fn bodies_that_stop_arriving_do_not_delay_other_requests() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let mut half = Vec::new();
    for _ in 0..20 {
        for head in [
            format!(
                "PUT /v1/plugins/q HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
                32 << 20
            ),
            "PUT /v1/plugins/q HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
                .to_owned(),
            format!(
                "POST /v1/jobs/batch HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
                16 << 20
            ),
            format!("{JOB}content-length: 1000000\r\n"),
        ] {
            // `100 Continue` shows that the host began to read the body.
            let mut wire =
                Wire::with(&fixture.host, format!("{head}expect: 100-continue\r\n\r\n")).await?;
            assert_eq!(wire.answer().await?.0, 100);
            half.push(wire);
        }
    }
    post(&fixture.host, "/v1/jobs?plugin=p", "x".repeat(1 << 20)).await?.ok(202)?;
    put(&fixture.host, "/v1/plugins/r", vec![0; 1 << 20]).await?.ok(201)?;
    alive(&fixture).await?;
    drop(half);
    Ok(())
}

async fn half_sent_requests_do_not_delay_the_shutdown() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let mut body = Wire::with(
        &fixture.host,
        format!("{JOB}content-length: 10\r\nexpect: 100-continue\r\n\r\n"),
    )
    .await?;
    assert_eq!(body.answer().await?.0, 100);
    body.send("half").await?;
    let _head = Wire::with(&fixture.host, "GET /v1/jobs HTTP/1.1\r\nhost: local").await?;
    let _idle = Wire::to(&fixture.host).await?;
    soon(fixture.host.stop()).await??;
    Ok(())
}

async fn an_incomplete_body_creates_no_job() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for rest in
        ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let mut wire =
            Wire::with(&fixture.host, format!("{JOB}expect: 100-continue\r\n{rest}")).await?;
        assert_eq!(wire.answer().await?.0, 100);
        drop(wire);
    }
    let mut bad =
        Wire::with(&fixture.host, format!("{JOB}transfer-encoding: chunked\r\n\r\nxyz\r\n"))
            .await?;
    assert_eq!(bad.problem().await?, (400, "broken_body".to_owned()));
    alive(&fixture).await?;
    let jobs = get(&fixture.host, "/v1/jobs").await?.ok(200)?;
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "only the one that shows it lives");
    Ok(())
}

async fn contradictory_lengths_are_refused() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    for lengths in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: -1",
        "content-length: 99999999999999999999999",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip",
    ] {
        let text = format!("{JOB}{lengths}\r\n\r\n0\r\n\r\n");
        let mut wire = Wire::with(&fixture.host, text).await?;
        let (status, body) = wire.answer().await?;
        ensure!((400..=501).contains(&status) && status != 500, "{lengths}: {status} {body}");
    }
    alive(&fixture).await
}

async fn a_length_with_chunked_encoding_smuggles_no_request() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let smuggled =
        "0\r\n\r\nPOST /v1/jobs?plugin=p&tag=smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for lengths in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", smuggled.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}", smuggled.len()),
    ] {
        let mut wire =
            Wire::with(&fixture.host, format!("{JOB}{lengths}\r\n\r\n{smuggled}")).await?;
        let (status, body) = wire.answer().await?;
        ensure!(status == 400, "{lengths}: {status} {body}");
        // A proxy may count differently: the following bytes must not be taken for a request.
        ensure!(wire.answer().await.is_err(), "{lengths}: a second answer");
        wire.closed().await?;
    }
    let jobs = get(&fixture.host, "/v1/jobs?tag=smuggled").await?.ok(200)?;
    assert_eq!(jobs["jobs"], json!([]));
    Ok(())
}

async fn an_encoded_body_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (method, path) in [
        (Method::POST, "/v1/jobs"),
        (Method::POST, "/v1/jobs?plugin=p"),
        (Method::POST, "/v1/jobs/batch"),
        (Method::PUT, "/v1/plugins/q"),
        (Method::PATCH, "/v1/plugins/p"),
    ] {
        for encoding in ["gzip", "identity, br", "aes128gcm"] {
            let request = host.request(method.clone(), path).header("content-encoding", encoding);
            let answer = send(request.body("{}")).await?;
            assert_eq!(answer.header("accept-encoding"), "identity");
            let problem = answer.problem(415)?;
            assert_eq!(problem["code"], "unsupported_encoding", "{path}: {encoding}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            ensure!(detail.contains("encodings are not supported"), "{detail}");
        }
    }
    let plain = host.request(Method::POST, "/v1/jobs?plugin=p");
    send(plain.header("content-encoding", "Identity").body("x")).await?.ok(202)?;
    Ok(())
}

async fn a_client_that_reads_nothing_does_not_delay_others() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    let output = Output::new(vec![b'x'; 8 << 20].into(), None);
    fixture.begins().await?.end(Outcome::Succeeded { output });
    fixture.host.finalized(&id).await?;
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let head = format!("GET /v1/jobs/{id}/output HTTP/1.1\r\nhost: localhost\r\n\r\n");
        deaf.push(Wire::with(&fixture.host, head).await?);
    }
    get(&fixture.host, "/healthz").await?.ok(200)?;
    soon(fixture.host.stop()).await??;
    Ok(())
}

async fn a_client_that_is_still_sending_gets_the_reason_of_a_refusal() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::configured(|config| config.plugin_bytes = 1000).await?;
    for _ in 0..10 {
        let body = vec![0; 8 << 20];
        assert_eq!(put(&host, "/v1/plugins/q", body.clone()).await?.code(413)?, "too_large");
        assert_eq!(put(&host, "/v1/plugins/NO", body.clone()).await?.code(400)?, "invalid_name");
        let foreign = host.request(Method::PUT, "/v1/plugins/q").header("origin", "null");
        assert_eq!(send(foreign.body(body)).await?.code(403)?, "foreign_origin");
    }
    Ok(())
}

async fn many_requests_on_one_connection_are_answered_in_order() -> anyhow::Result<()> {
    let fixture = Fixture::one_by_one().await?;
    let one = |n: usize| format!("{JOB}content-length: 2\r\n\r\n{n:02}");
    let mut wire = Wire::with(&fixture.host, (0..50).map(one).collect::<String>()).await?;
    for n in 0..50 {
        let (status, body) = wire.answer().await?;
        ensure!(status == 202, "{status} {body}");
        assert_eq!(fixture.succeeds().await?.payload.bytes, format!("{n:02}"));
    }
    // An unread body of a refused request does not become the next request.
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let refused = format!(
        "PUT /v1/plugins/NO HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    wire.send(refused + "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    assert_eq!(wire.problem().await?, (400, "invalid_name".to_owned()));
    if let Ok((status, body)) = wire.answer().await {
        assert_eq!((status, body.as_str()), (200, "{\"status\":\"ok\"}"));
    }
    Ok(())
}
