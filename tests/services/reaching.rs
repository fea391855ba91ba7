//! Where requests go: where a grant lets them by name and address, and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use jobwright_core::services::{HttpRequestError, MAX_HEAD_BYTES};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::timeout;

use super::{Names, Silent, Stage, denied, get};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_request_goes_where_its_grant_says,
        without_a_grant_for_its_method_and_origin_nothing_is_sent,
        names_with_other_than_public_addresses_are_refused,
        one_wrong_address_among_public_ones_is_enough,
        an_address_in_other_clothes_is_known,
        a_granted_network_is_reached_and_only_by_its_own_grant,
        a_name_is_looked_up_once_and_its_checked_address_connected_to,
        addresses_are_tried_in_order,
        an_address_that_does_not_answer_does_not_hold_up_the_others,
        a_wildcard_is_for_whole_labels,
        redirects_are_answers,
        what_is_of_the_connection_is_the_hosts_to_say,
        a_name_that_means_nothing_is_told,
        a_port_that_is_none_is_not_the_usual_one,
        who_is_asked_is_named_by_host_and_port,
        an_empty_path_is_a_slash,
        a_network_of_version_6_is_none_of_version_4,
        an_address_and_headers_of_their_most_are_sent_and_one_byte_more_is_not,
    ]
}

async fn a_request_goes_where_its_grant_says() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let stage = Stage::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    let mut request = Request::post(format!("http://{at}/v1/a?b=c")).header("x-a", "1");
    request = request.header("content-length", "4");
    let response = stage.send(request.body(Bytes::from_static(b"body"))?).await?;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"hello"[..]));
    let seen = server.seen();
    let expected =
        format!("POST /v1/a?b=c HTTP/1.1\r\nx-a: 1\r\nhost: {at}\r\ncontent-length: 4\r\n\r\nbody");
    assert_eq!(seen, [expected]);
    assert_eq!(stage.log(), "", "what is granted is nobody's news");
    Ok(())
}

async fn without_a_grant_for_its_method_and_origin_nothing_is_sent() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let url = format!("http://{at}/");
    let none = Stage::granted(json!({})).await?;
    assert_eq!(denied(&none, none.get(&url).await)?, "the plugin is granted no request");
    for grant in [
        json!({ "origin": format!("http://{at}"), "methods": ["POST"] }),
        json!({ "origin": format!("https://{at}") }),
        json!({ "origin": "http://127.0.0.1:1" }),
        json!({ "origin": format!("http://localhost:{}", at.port()) }),
    ] {
        let stage = Stage::granted(json!({ "http": [grant] })).await?;
        denied(&stage, stage.get(&url).await)?;
        let line = format!("WARN: jobwright: GET {url}: denied: no grant allows this method and");
        assert!(stage.log().starts_with(&line), "{}", stage.log());
    }
    assert_eq!(server.seen(), Vec::<String>::new());
    Ok(())
}

/// What `a.example.com` must not be, if nobody grants it.
const NOT_PUBLIC: [&str; 18] = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
];

fn prohibited(answer: Result<http::Response<Bytes>, HttpRequestError>) -> anyhow::Result<String> {
    match answer {
        Err(HttpRequestError::DeniedAddress(why)) => Ok(why),
        other => anyhow::bail!("its address was not refused: {other:?}"),
    }
}

async fn names_with_other_than_public_addresses_are_refused() -> anyhow::Result<()> {
    let everywhere = json!({ "http": [{ "origin": "http://*:*" }] });
    for address in NOT_PUBLIC {
        let names = Names::meaning(&[&[address]])?;
        let stage = Stage::named(everywhere.clone(), &names).await?;
        let why = prohibited(stage.get("http://a.example.com:9/").await)?;
        assert!(why.starts_with("`a.example.com` has an address that is not public"), "{why}");
        // Which one would map the names of a network for the guest.
        assert!(!why.contains(address), "{why}");
        assert!(stage.log().contains(&why), "{}", stage.log());
    }
    Ok(())
}

async fn one_wrong_address_among_public_ones_is_enough() -> anyhow::Result<()> {
    let everywhere = json!({ "http": [{ "origin": "http://*:*" }] });
    for mixed in [["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["2606:4700::1111", "::1"]] {
        let stage = Stage::named(everywhere.clone(), &Names::meaning(&[&mixed])?).await?;
        prohibited(stage.get("http://a.example.com:9/").await)?;
    }
    Ok(())
}

/// Which the system's own resolver takes for addresses.
async fn an_address_in_other_clothes_is_known() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let port = server.address().port();
    let stage =
        Stage::with(json!({ "http": [{ "origin": "http://*:*" }] }), |web| web, &[]).await?;
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1"]
    {
        prohibited(stage.get(&format!("http://{host}:{port}/")).await)?;
    }
    assert_eq!(server.seen(), Vec::<String>::new());
    Ok(())
}

async fn a_granted_network_is_reached_and_only_by_its_own_grant() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let port = server.address().port();
    let grants = json!({ "http": [
        { "origin": "http://*:*" },
        { "origin": "http://ours.example.com:*", "networks": ["127.0.0.0/8"] },
    ] });
    let names = Names::meaning(&[&["127.0.0.1"]])?;
    let stage = Stage::named(grants.clone(), &names).await?;
    stage.get(&format!("http://ours.example.com:{port}/")).await?;
    assert!(server.seen()[0].contains(&format!("host: ours.example.com:{port}\r\n")));
    prohibited(stage.get(&format!("http://theirs.example.com:{port}/")).await)?;
    let stage = Stage::named(grants, &Names::meaning(&[&["127.0.0.1", "10.0.0.1"]])?).await?;
    prohibited(stage.get(&format!("http://ours.example.com:{port}/")).await)?;
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_name_is_looked_up_once_and_its_checked_address_connected_to() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("checked")).await?;
    let port = server.address().port();
    let grants = json!({ "http": [
        { "origin": "http://a.example.com:*", "networks": ["127.0.0.1/32"] },
    ] });
    // Nobody listens at the second, and it is not granted.
    let names = Names::meaning(&[&["127.0.0.1"], &["127.0.0.2"]])?;
    let stage = Stage::named(grants, &names).await?;
    let url = format!("http://a.example.com:{port}/");
    assert_eq!(&stage.get(&url).await?.body()[..], b"checked");
    assert_eq!(names.asked(), ["a.example.com"]);
    prohibited(stage.get(&url).await)?;
    Ok(())
}

async fn addresses_are_tried_in_order() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("second")).await?;
    let port = server.address().port();
    let grants = json!({ "http": [
        { "origin": "http://a.example.com:*", "networks": ["127.0.0.0/8"] },
    ] });
    // The first refuses the connection: the server listens on the second alone.
    let names = Names::meaning(&[&["127.0.0.2", "127.0.0.1"]])?;
    let stage = Stage::named(grants.clone(), &names).await?;
    let url = format!("http://a.example.com:{port}/");
    assert_eq!(&stage.get(&url).await?.body()[..], b"second");
    let stage = Stage::named(grants, &Names::meaning(&[&["127.0.0.2"]])?).await?;
    let unconnected = stage.get(&url).await;
    assert!(matches!(unconnected, Err(HttpRequestError::Unconnected(_))), "{unconnected:?}");
    assert!(stage.log().contains("cannot connect: "), "{}", stage.log());
    Ok(())
}

async fn an_address_that_does_not_answer_does_not_hold_up_the_others() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("second")).await?;
    let port = server.address().port();
    let _silent = Silent::at("127.0.0.2", port).await?;
    let grants = json!({ "http": [
        { "origin": "http://a.example.com:*", "networks": ["127.0.0.0/8"] },
    ] });
    let names = Names::meaning(&[&["127.0.0.2", "127.0.0.1"]])?;
    let stage = Stage::named(grants.clone(), &names).await?;
    let url = format!("http://a.example.com:{port}/");
    // Half of what a connection may take: one after the other, the first would take all of it.
    let answer = timeout(Duration::from_secs(5), stage.get(&url)).await?;
    assert_eq!(&answer?.body()[..], b"second");
    // One address that must not be reached is enough to refuse all.
    let names = Names::meaning(&[&["127.0.0.2", "127.0.0.1", "10.0.0.1"]])?;
    prohibited(Stage::named(grants, &names).await?.get(&url).await)?;
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_wildcard_is_for_whole_labels() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let port = server.address().port();
    let grants = json!({ "http": [
        { "origin": "http://*.example.com:*", "networks": ["127.0.0.0/8"] },
    ] });
    let stage = Stage::named(grants, &Names::meaning(&[&["127.0.0.1"]])?).await?;
    for inside in ["a.example.com", "a.b.example.com", "A.EXAMPLE.COM", "a.example.com."] {
        stage.get(&format!("http://{inside}:{port}/")).await?;
    }
    for outside in [
        "example.com",
        "evilexample.com",
        "a.example.com.evil.org",
        "example.com.evil.org",
        "a.example.org",
        "127.0.0.1",
    ] {
        denied(&stage, stage.get(&format!("http://{outside}:{port}/")).await)?;
    }
    denied(&stage, stage.get(&format!("http://a.example.com@evil.org:{port}/")).await)?;
    let user = stage.get(&format!("http://evil.org@a.example.com:{port}/")).await;
    denied(&stage, user)?;
    assert_eq!(server.seen().len(), 4);
    Ok(())
}

async fn redirects_are_answers() -> anyhow::Result<()> {
    let secret = Server::answering(|_| Server::ok("metadata")).await?;
    let there = format!("http://{}/", secret.address());
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes();
    let server = Server::answering(move |_| redirect.clone()).await?;
    let at = server.address();
    let stage = Stage::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    let response = stage.get(&format!("http://{at}/")).await?;
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], there);
    // Following it is the guest's to do, and its grants' to allow.
    denied(&stage, stage.get(&there).await)?;
    assert_eq!(secret.seen(), Vec::<String>::new());
    Ok(())
}

async fn what_is_of_the_connection_is_the_hosts_to_say() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let stage = Stage::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    for (name, value) in [
        ("host", "other.example.com"),
        ("transfer-encoding", "gzip"),
        ("content-length", "3"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic a"),
    ] {
        let mut request = get(&format!("http://{at}/"));
        request.headers_mut().insert(name, value.parse()?);
        denied(&stage, stage.send(request).await)?;
    }
    let mut tunnel = get(&format!("http://{at}/"));
    *tunnel.method_mut() = http::Method::CONNECT;
    denied(&stage, stage.send(tunnel).await)?;
    assert_eq!(server.seen(), Vec::<String>::new());
    Ok(())
}

async fn a_name_that_means_nothing_is_told() -> anyhow::Result<()> {
    let stage = Stage::granted(json!({ "http": [{ "origin": "http://*" }] })).await?;
    let unresolved = stage.get("http://a.example.com/").await;
    assert_eq!(
        unresolved.expect_err("no name"),
        HttpRequestError::Unresolved("no such name".to_owned())
    );
    let names = Names::meaning(&[&[]])?;
    let stage = Stage::named(json!({ "http": [{ "origin": "http://*" }] }), &names).await?;
    let unresolved = stage.get("http://a.example.com/").await;
    assert!(matches!(unresolved, Err(HttpRequestError::Unresolved(_))), "{unresolved:?}");
    Ok(())
}

async fn a_port_that_is_none_is_not_the_usual_one() -> anyhow::Result<()> {
    let stage = Stage::granted(json!({ "http": [{ "origin": "http://127.0.0.2" }] })).await?;
    for port in [":99999", ":abc", ":80,evil.com", ":-1", ":", ":+80"] {
        let url = format!("http://127.0.0.2{port}/");
        let why = denied(&stage, stage.get(&url).await)?;
        assert_eq!(why, "its port is not a number from 0 to 65535", "{url}");
    }
    for strange in ["ftp://127.0.0.2/", "/relative"] {
        let why = denied(&stage, stage.get(strange).await)?;
        assert_eq!(why, "no grant allows this method and origin", "{strange}");
    }
    Ok(())
}

async fn who_is_asked_is_named_by_host_and_port() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let stage = Stage::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    stage.get(&format!("http://127.0.0.1:0{}/", at.port())).await?;
    assert!(server.seen()[0].contains(&format!("\r\nhost: {at}\r\n")), "{:?}", server.seen());
    Ok(())
}

async fn an_empty_path_is_a_slash() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let stage = Stage::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    for (rest, target) in [("", "/"), ("#f", "/"), ("?q", "/?q"), ("/?", "/?"), ("/a?b#f", "/a?b")]
    {
        stage.get(&format!("http://{at}{rest}")).await?;
        let seen = server.seen().pop().unwrap_or_default();
        assert!(seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{rest}: {seen}");
    }
    Ok(())
}

async fn a_network_of_version_6_is_none_of_version_4() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let url = format!("http://[::ffff:127.0.0.1]:{}/", server.address().port());
    let within =
        |network: &str| json!({ "http": [{ "origin": "http://*:*", "networks": [network] }] });
    prohibited(Stage::granted(within("::/0")).await?.get(&url).await)?;
    assert_eq!(server.seen(), Vec::<String>::new());
    for meant in ["127.0.0.0/8", "::ffff:127.0.0.0/104"] {
        Stage::granted(within(meant)).await?.get(&url).await?;
    }
    Ok(())
}

async fn an_address_and_headers_of_their_most_are_sent_and_one_byte_more_is_not()
-> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let stage = Stage::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    let most = MAX_HEAD_BYTES - at.to_string().len() - "/".len() - "x-a: \r\n".len();
    let with = |length: usize| {
        let mut request = get(&format!("http://{at}/"));
        let value = http::HeaderValue::try_from("x".repeat(length));
        request.headers_mut().insert("x-a", value.expect("a value"));
        request
    };
    stage.send(with(most)).await?;
    let over = stage.send(with(most + 1)).await.expect_err("too long");
    assert_eq!(over, HttpRequestError::HeadTooLong(MAX_HEAD_BYTES as u64));
    assert!(stage.log().contains("its address and headers are longer than the 65536 bytes"));
    assert_eq!(server.seen().len(), 1);
    Ok(())
}
