//! Protection against browsers and unknown clients: `Host`, `Origin`, API keys, and response headers.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::{TestHost, tests, write_private};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use super::wire::Wire;
use super::{Fixture, get, post, put, send};

pub fn trials() -> Vec<Trial> {
    tests![
        an_unexpected_host_header_is_refused,
        a_request_that_names_two_hosts_is_refused,
        a_configured_host_name_is_accepted,
        a_write_from_another_site_is_refused_and_changes_nothing,
        a_read_from_another_site_is_refused_and_the_response_is_unreadable_there,
        every_response_has_the_security_headers,
        without_a_key_nothing_is_disclosed,
        a_key_allows_requests_but_no_foreign_origin,
        health_needs_no_key,
    ]
}

const FOREIGN: [(&str, &str); 5] = [
    ("origin", "http://evil.example"),
    ("origin", "null"),
    ("origin", "http://localhost:1"),
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
];

async fn an_unexpected_host_header_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let request = host.request(Method::GET, "/v1/jobs").header("host", "evil.example");
    assert_json_snapshot!(send(request).await?.problem(403)?, @r#"
    {
      "code": "foreign_host",
      "detail": "the Host `evil.example` is not an allowed name; if it is this host's name, add it to --allowed-hosts or `allowed_hosts` in the configuration"
    }
    "#);
    for bad in [
        "evil.example:7878",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
    ] {
        for path in ["/v1/jobs", "/healthz", "/readyz", "/no/such/route"] {
            let request = host.request(Method::GET, path).header("host", bad);
            assert_eq!(send(request).await?.code(403)?, "foreign_host", "{bad} {path}");
        }
    }
    for good in ["localhost", "LOCALHOST:7878", "127.0.0.1:7878", "[::1]:7878", "10.0.0.7"] {
        let request = host.request(Method::GET, "/v1/jobs").header("host", good);
        assert_eq!(send(request).await?.status, 200, "{good}");
    }
    for head in [
        "GET /v1/jobs HTTP/1.1\r\n\r\n",
        "GET /v1/jobs HTTP/1.0\r\n\r\n",
        "GET /v1/jobs HTTP/1.1\r\nhost:\r\n\r\n",
    ] {
        let mut none = Wire::with(&host, head).await?;
        assert_eq!(none.problem().await?, (403, "foreign_host".to_owned()), "{head}");
    }
    Ok(())
}

async fn a_request_that_names_two_hosts_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let refused = (400, "several_hosts".to_owned());
    for head in [
        "GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nhost: evil.example",
        "GET /v1/jobs HTTP/1.1\r\nhost: evil.example\r\nHost: localhost",
        "GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nhost: localhost",
        "GET http://evil.example/v1/jobs HTTP/1.1\r\nhost: localhost",
        "GET http://localhost/v1/jobs HTTP/1.1\r\nhost: evil.example",
        "GET http://localhost:1/v1/jobs HTTP/1.1\r\nhost: localhost:2",
        "GET http://me@localhost/v1/jobs HTTP/1.1\r\nhost: localhost",
    ] {
        let mut wire = Wire::with(&host, format!("{head}\r\n\r\n")).await?;
        assert_eq!(wire.problem().await?, refused, "{head}");
    }
    let same = "GET http://LOCALHOST:7878/healthz HTTP/1.1\r\nhost: localhost:7878\r\n\r\n";
    assert_eq!(Wire::with(&host, same).await?.answer().await?.0, 200);
    let foreign = "GET http://evil.example/healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    assert_eq!(Wire::with(&host, foreign).await?.problem().await?.0, 403);
    Ok(())
}

async fn a_configured_host_name_is_accepted() -> anyhow::Result<()> {
    let names = || vec!["Jobs.Example".to_owned()];
    let Fixture { host, .. } = Fixture::configured(|config| config.allowed_hosts = names()).await?;
    let ask = async |name: &str| {
        let request = host.request(Method::POST, "/v1/jobs?plugin=p").header("host", name);
        anyhow::Ok(send(request.header("origin", format!("https://{name}"))).await?.status.as_u16())
    };
    assert_eq!(ask("jobs.example").await?, 202);
    assert_eq!(ask("jobs.example:8443").await?, 202);
    assert_eq!(ask("other.example").await?, 403);
    assert_eq!(ask("x.jobs.example").await?, 403);
    Ok(())
}

async fn a_write_from_another_site_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (name, value) in FOREIGN {
        for (method, path) in [
            (Method::POST, "/v1/jobs?plugin=p"),
            (Method::POST, "/v1/queues/default/pause"),
            (Method::PUT, "/v1/plugins/q"),
            (Method::PATCH, "/v1/plugins/p"),
            (Method::DELETE, "/v1/plugins/p"),
        ] {
            let answer = send(host.request(method, path).header(name, value).body("{}")).await?;
            assert_eq!(answer.code(403)?, "foreign_origin", "{name}: {value} {path}");
        }
    }
    assert_eq!(get(&host, "/v1/jobs").await?.ok(200)?["jobs"], json!([]));
    get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(get(&host, "/v1/plugins/q").await?.status, 404);
    for (name, value) in [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")] {
        let own = host.request(Method::POST, "/v1/jobs?plugin=p").header(name, value);
        send(own.header("origin", format!("http://{}", host.address()))).await?.ok(202)?;
    }
    Ok(())
}

async fn a_read_from_another_site_is_refused_and_the_response_is_unreadable_there()
-> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (name, value) in FOREIGN {
        for path in ["/v1/jobs", "/healthz", "/"] {
            let answer = send(host.request(Method::GET, path).header(name, value)).await?;
            if name == "sec-fetch-site" {
                assert_eq!(answer.code(403)?, "foreign_origin", "{value} {path}");
            }
            ensure!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
            assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        }
    }
    // A browser may follow a link to the start page, but to no other resource.
    let link = async |path: &str| {
        let request = host.request(Method::GET, path).header("sec-fetch-site", "cross-site");
        let request = request.header("sec-fetch-mode", "navigate");
        anyhow::Ok(send(request.header("sec-fetch-dest", "document")).await?.status.as_u16())
    };
    ensure!(link("/").await? != 403);
    assert_eq!(link("/v1/jobs").await?, 403);
    Ok(())
}

async fn every_response_has_the_security_headers() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for answer in [
        get(&host, "/healthz").await?,
        get(&host, "/readyz").await?,
        get(&host, "/v1/jobs").await?,
        get(&host, "/v1/jobs/7").await?,
        get(&host, "/no/such/route").await?,
        get(&host, "/v1/plugins/p/versions/1.0.0/wasm").await?,
        post(&host, "/v1/jobs?plugin=p", "").await?,
        post(&host, "/v1/jobs?plugin=none", "").await?,
        put(&host, "/v1/plugins/q", "bytes").await?,
        super::delete(&host, "/v1/plugins/q").await?,
        super::delete(&host, "/v1/jobs").await?,
    ] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {answer:?}");
        }
        assert_eq!(answer.header("x-request-id").len(), 16, "{answer:?}");
    }
    Ok(())
}

/// A host with two keys.
async fn with_keys() -> anyhow::Result<TestHost> {
    let directory = std::sync::Arc::new(tempfile::tempdir()?);
    let keys = directory.path().join("keys");
    write_private(&keys, "# ours\n0123456789abcdef\nfedcba9876543210\n")?;
    TestHost::on(directory, |config| config.api_keys = Some(keys)).await
}

async fn without_a_key_nothing_is_disclosed() -> anyhow::Result<()> {
    let host = with_keys().await?;
    let answer = get(&host, "/v1/jobs").await?;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_json_snapshot!(answer.problem(401)?, @r#"
    {
      "code": "unauthorized",
      "detail": "this host requires a valid API key: send `Authorization: Bearer KEY`; an operator without a key restarts the host with `--api-keys FILE`"
    }
    "#);
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0",
        "Bearer # ours",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
    ] {
        for path in ["/v1/jobs", "/v1/plugins", "/v1/jobs/7", "/v1/queues/default"] {
            let request = host.request(Method::GET, path).header("authorization", wrong);
            assert_eq!(send(request).await?.code(401)?, "unauthorized", "{wrong} {path}");
        }
    }
    // The body of a client without a key is not read.
    let head = "PUT /v1/plugins/q HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n";
    let mut wire = Wire::with(&host, head).await?;
    assert_eq!(wire.problem().await?, (401, "unauthorized".to_owned()));
    Ok(())
}

async fn a_key_allows_requests_but_no_foreign_origin() -> anyhow::Result<()> {
    let host = with_keys().await?;
    for right in ["Bearer 0123456789abcdef", "bearer fedcba9876543210"] {
        let request = host.request(Method::GET, "/v1/jobs").header("authorization", right);
        send(request).await?.ok(200)?;
    }
    let foreign = host.request(Method::POST, "/v1/queues/default/pause");
    let foreign = foreign.header("authorization", "Bearer 0123456789abcdef");
    let answer = send(foreign.header("origin", "http://evil.example")).await?;
    assert_eq!(answer.code(403)?, "foreign_origin", "a key does not allow a foreign origin");
    Ok(())
}

async fn health_needs_no_key() -> anyhow::Result<()> {
    let host = with_keys().await?;
    assert_eq!(get(&host, "/healthz").await?.ok(200)?, json!({ "status": "ok" }));
    assert_eq!(get(&host, "/readyz").await?.ok(200)?, json!({ "status": "ready" }));
    Ok(())
}
