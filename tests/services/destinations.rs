//! Destinations of requests: only those that a grant allows, by name and by address.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use jobwright_core::services::{HttpRequestError, MAX_HEAD_BYTES};
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::time::timeout;

use super::{Names, Silent, TestServices, denied, get};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_granted_request_is_sent_to_its_origin,
        without_a_grant_for_its_method_and_origin_nothing_is_sent,
        names_with_non_public_addresses_are_refused,
        a_name_with_one_non_public_address_is_refused,
        alternative_notations_of_addresses_are_recognized,
        a_granted_network_is_reached_and_only_by_its_own_grant,
        a_name_is_looked_up_once_and_its_checked_address_connected_to,
        addresses_are_tried_in_order,
        an_unresponsive_address_does_not_delay_the_others,
        a_wildcard_matches_whole_labels,
        redirects_are_returned_and_not_followed,
        connection_headers_are_set_by_the_host,
        a_name_that_does_not_resolve_is_reported,
        an_invalid_port_is_not_replaced_by_the_default,
        the_host_header_has_host_and_port,
        an_empty_path_becomes_a_slash,
        a_granted_ipv6_network_does_not_cover_ipv4_addresses,
        url_and_headers_at_their_size_limit_are_sent_and_one_byte_more_is_not,
    ]
}

async fn a_granted_request_is_sent_to_its_origin() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let services =
        TestServices::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    let mut request = Request::post(format!("http://{at}/v1/a?b=c")).header("x-a", "1");
    request = request.header("content-length", "4");
    let response = services.send(request.body(Bytes::from_static(b"body"))?).await?;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"hello"[..]));
    let seen = server.seen();
    let expected =
        format!("POST /v1/a?b=c HTTP/1.1\r\nx-a: 1\r\nhost: {at}\r\ncontent-length: 4\r\n\r\nbody");
    assert_eq!(seen, [expected]);
    assert_eq!(services.log(), "", "granted requests are not logged");
    Ok(())
}

async fn without_a_grant_for_its_method_and_origin_nothing_is_sent() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let url = format!("http://{at}/");
    let none = TestServices::granted(json!({})).await?;
    assert_eq!(denied(&none, none.get(&url).await)?, "the plugin is not granted HTTP requests");
    for grant in [
        json!({ "origin": format!("http://{at}"), "methods": ["POST"] }),
        json!({ "origin": format!("https://{at}") }),
        json!({ "origin": "http://127.0.0.1:1" }),
        json!({ "origin": format!("http://localhost:{}", at.port()) }),
    ] {
        let services = TestServices::granted(json!({ "http": [grant] })).await?;
        denied(&services, services.get(&url).await)?;
        let line = format!("WARN: jobwright: GET {url}: denied: no grant allows this method and");
        assert!(services.log().starts_with(&line), "{}", services.log());
    }
    assert_eq!(server.seen(), Vec::<String>::new());
    Ok(())
}

/// Addresses to which `a.example.com` must not resolve without a granted network.
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

async fn names_with_non_public_addresses_are_refused() -> anyhow::Result<()> {
    let everywhere = json!({ "http": [{ "origin": "http://*:*" }] });
    for address in NOT_PUBLIC {
        let names = Names::meaning(&[&[address]])?;
        let services = TestServices::named(everywhere.clone(), &names).await?;
        let why = prohibited(services.get("http://a.example.com:9/").await)?;
        assert!(why.starts_with("`a.example.com` has an address that is not public"), "{why}");
        // The address itself would let a guest map the names of a network.
        assert!(!why.contains(address), "{why}");
        assert!(services.log().contains(&why), "{}", services.log());
    }
    Ok(())
}

async fn a_name_with_one_non_public_address_is_refused() -> anyhow::Result<()> {
    let everywhere = json!({ "http": [{ "origin": "http://*:*" }] });
    for mixed in [["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["2606:4700::1111", "::1"]] {
        let services = TestServices::named(everywhere.clone(), &Names::meaning(&[&mixed])?).await?;
        prohibited(services.get("http://a.example.com:9/").await)?;
    }
    Ok(())
}

/// Notations that the resolver of the system accepts as addresses.
async fn alternative_notations_of_addresses_are_recognized() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let port = server.address().port();
    let services =
        TestServices::with(json!({ "http": [{ "origin": "http://*:*" }] }), |web| web, &[]).await?;
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1"]
    {
        prohibited(services.get(&format!("http://{host}:{port}/")).await)?;
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
    let services = TestServices::named(grants.clone(), &names).await?;
    services.get(&format!("http://ours.example.com:{port}/")).await?;
    assert!(server.seen()[0].contains(&format!("host: ours.example.com:{port}\r\n")));
    prohibited(services.get(&format!("http://theirs.example.com:{port}/")).await)?;
    let services =
        TestServices::named(grants, &Names::meaning(&[&["127.0.0.1", "10.0.0.1"]])?).await?;
    prohibited(services.get(&format!("http://ours.example.com:{port}/")).await)?;
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_name_is_looked_up_once_and_its_checked_address_connected_to() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("checked")).await?;
    let port = server.address().port();
    let grants = json!({ "http": [
        { "origin": "http://a.example.com:*", "networks": ["127.0.0.1/32"] },
    ] });
    // The second address has no listener, and is not granted.
    let names = Names::meaning(&[&["127.0.0.1"], &["127.0.0.2"]])?;
    let services = TestServices::named(grants, &names).await?;
    let url = format!("http://a.example.com:{port}/");
    assert_eq!(&services.get(&url).await?.body()[..], b"checked");
    assert_eq!(names.asked(), ["a.example.com"]);
    prohibited(services.get(&url).await)?;
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
    let services = TestServices::named(grants.clone(), &names).await?;
    let url = format!("http://a.example.com:{port}/");
    assert_eq!(&services.get(&url).await?.body()[..], b"second");
    let services = TestServices::named(grants, &Names::meaning(&[&["127.0.0.2"]])?).await?;
    let unconnected = services.get(&url).await;
    assert!(matches!(unconnected, Err(HttpRequestError::Unconnected(_))), "{unconnected:?}");
    assert!(services.log().contains("cannot connect: "), "{}", services.log());
    Ok(())
}

async fn an_unresponsive_address_does_not_delay_the_others() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("second")).await?;
    let port = server.address().port();
    let _silent = Silent::at("127.0.0.2", port).await?;
    let grants = json!({ "http": [
        { "origin": "http://a.example.com:*", "networks": ["127.0.0.0/8"] },
    ] });
    let names = Names::meaning(&[&["127.0.0.2", "127.0.0.1"]])?;
    let services = TestServices::named(grants.clone(), &names).await?;
    let url = format!("http://a.example.com:{port}/");
    // Half of the connect timeout: tried in sequence, the first address would use all of it.
    let answer = timeout(Duration::from_secs(5), services.get(&url)).await?;
    assert_eq!(&answer?.body()[..], b"second");
    // One forbidden address is enough to refuse all.
    let names = Names::meaning(&[&["127.0.0.2", "127.0.0.1", "10.0.0.1"]])?;
    prohibited(TestServices::named(grants, &names).await?.get(&url).await)?;
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

async fn a_wildcard_matches_whole_labels() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let port = server.address().port();
    let grants = json!({ "http": [
        { "origin": "http://*.example.com:*", "networks": ["127.0.0.0/8"] },
    ] });
    let services = TestServices::named(grants, &Names::meaning(&[&["127.0.0.1"]])?).await?;
    for inside in ["a.example.com", "a.b.example.com", "A.EXAMPLE.COM", "a.example.com."] {
        services.get(&format!("http://{inside}:{port}/")).await?;
    }
    for outside in [
        "example.com",
        "evilexample.com",
        "a.example.com.evil.org",
        "example.com.evil.org",
        "a.example.org",
        "127.0.0.1",
    ] {
        denied(&services, services.get(&format!("http://{outside}:{port}/")).await)?;
    }
    denied(&services, services.get(&format!("http://a.example.com@evil.org:{port}/")).await)?;
    let user = services.get(&format!("http://evil.org@a.example.com:{port}/")).await;
    denied(&services, user)?;
    assert_eq!(server.seen().len(), 4);
    Ok(())
}

async fn redirects_are_returned_and_not_followed() -> anyhow::Result<()> {
    let secret = Server::answering(|_| Server::ok("metadata")).await?;
    let there = format!("http://{}/", secret.address());
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes();
    let server = Server::answering(move |_| redirect.clone()).await?;
    let at = server.address();
    let services =
        TestServices::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    let response = services.get(&format!("http://{at}/")).await?;
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], there);
    // The guest may follow it, if its grants allow that.
    denied(&services, services.get(&there).await)?;
    assert_eq!(secret.seen(), Vec::<String>::new());
    Ok(())
}

async fn connection_headers_are_set_by_the_host() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let services =
        TestServices::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    for (name, value) in [
        ("host", "other.example.com"),
        ("transfer-encoding", "gzip"),
        ("content-length", "3"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic a"),
    ] {
        let mut request = get(&format!("http://{at}/"));
        request.headers_mut().insert(name, value.parse()?);
        denied(&services, services.send(request).await)?;
    }
    let mut tunnel = get(&format!("http://{at}/"));
    *tunnel.method_mut() = http::Method::CONNECT;
    denied(&services, services.send(tunnel).await)?;
    assert_eq!(server.seen(), Vec::<String>::new());
    Ok(())
}

async fn a_name_that_does_not_resolve_is_reported() -> anyhow::Result<()> {
    let services = TestServices::granted(json!({ "http": [{ "origin": "http://*" }] })).await?;
    let unresolved = services.get("http://a.example.com/").await;
    assert_eq!(
        unresolved.expect_err("no name"),
        HttpRequestError::Unresolved("no such name".to_owned())
    );
    let names = Names::meaning(&[&[]])?;
    let services =
        TestServices::named(json!({ "http": [{ "origin": "http://*" }] }), &names).await?;
    let unresolved = services.get("http://a.example.com/").await;
    assert!(matches!(unresolved, Err(HttpRequestError::Unresolved(_))), "{unresolved:?}");
    Ok(())
}

async fn an_invalid_port_is_not_replaced_by_the_default() -> anyhow::Result<()> {
    let services =
        TestServices::granted(json!({ "http": [{ "origin": "http://127.0.0.2" }] })).await?;
    for port in [":99999", ":abc", ":80,evil.com", ":-1", ":", ":+80"] {
        let url = format!("http://127.0.0.2{port}/");
        let why = denied(&services, services.get(&url).await)?;
        assert_eq!(why, "its port is not a number from 0 to 65535", "{url}");
    }
    for strange in ["ftp://127.0.0.2/", "/relative"] {
        let why = denied(&services, services.get(strange).await)?;
        assert_eq!(why, "no grant allows this method and origin", "{strange}");
    }
    Ok(())
}

async fn the_host_header_has_host_and_port() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let services =
        TestServices::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    services.get(&format!("http://127.0.0.1:0{}/", at.port())).await?;
    assert!(server.seen()[0].contains(&format!("\r\nhost: {at}\r\n")), "{:?}", server.seen());
    Ok(())
}

async fn an_empty_path_becomes_a_slash() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let services =
        TestServices::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    for (rest, target) in [("", "/"), ("#f", "/"), ("?q", "/?q"), ("/?", "/?"), ("/a?b#f", "/a?b")]
    {
        services.get(&format!("http://{at}{rest}")).await?;
        let seen = server.seen().pop().unwrap_or_default();
        assert!(seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{rest}: {seen}");
    }
    Ok(())
}

async fn a_granted_ipv6_network_does_not_cover_ipv4_addresses() -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let url = format!("http://[::ffff:127.0.0.1]:{}/", server.address().port());
    let within =
        |network: &str| json!({ "http": [{ "origin": "http://*:*", "networks": [network] }] });
    prohibited(TestServices::granted(within("::/0")).await?.get(&url).await)?;
    assert_eq!(server.seen(), Vec::<String>::new());
    for meant in ["127.0.0.0/8", "::ffff:127.0.0.0/104"] {
        TestServices::granted(within(meant)).await?.get(&url).await?;
    }
    Ok(())
}

async fn url_and_headers_at_their_size_limit_are_sent_and_one_byte_more_is_not()
-> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let at = server.address();
    let services =
        TestServices::granted(json!({ "http": [{ "origin": format!("http://{at}") }] })).await?;
    let most = MAX_HEAD_BYTES - at.to_string().len() - "/".len() - "x-a: \r\n".len();
    let with = |length: usize| {
        let mut request = get(&format!("http://{at}/"));
        let value = http::HeaderValue::try_from("x".repeat(length));
        request.headers_mut().insert("x-a", value.expect("a value"));
        request
    };
    services.send(with(most)).await?;
    let over = services.send(with(most + 1)).await.expect_err("too long");
    assert_eq!(over, HttpRequestError::HeadTooLong(MAX_HEAD_BYTES as u64));
    assert!(services.log().contains(
        "the address and headers of the request are longer than the limit of 65536 bytes"
    ));
    assert_eq!(server.seen().len(), 1);
    Ok(())
}
