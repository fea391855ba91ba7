//! The start page for browsers and programs, and health checks of load balancers.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;

use super::wire::Wire;
use super::{Fixture, get, send};

pub fn trials() -> Vec<Trial> {
    tests![
        a_browser_is_shown_a_page_that_runs_nothing,
        a_program_gets_links_to_the_api,
        the_start_page_is_refused_for_a_foreign_host_header,
        a_health_check_of_http_1_0_needs_no_host_header,
        a_health_check_may_use_options,
    ]
}

/// The `Accept` header of browsers.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn a_browser_is_shown_a_page_that_runs_nothing() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let page = send(host.request(Method::GET, "/").header("accept", BROWSER)).await?;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let text = page.text()?;
    ensure!(
        text.contains("job host for WebAssembly") && text.contains("href=\"/readyz\""),
        "{text}"
    );
    // In a sandbox the page would have no origin, and its links would be cross-site requests.
    let policy = page.header("content-security-policy");
    assert_eq!(
        policy,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let followed = host.request(Method::GET, link).header("sec-fetch-site", "same-origin");
        assert_eq!(send(followed.header("accept", BROWSER)).await?.status, 200, "{link}");
    }
    assert_eq!((page.header("x-content-type-options"), page.header("vary")), ("nosniff", "accept"));
    Ok(())
}

async fn a_program_gets_links_to_the_api() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    assert_json_snapshot!(get(&host, "/").await?.ok(200)?, @r#"
    {
      "api": "/v1",
      "description": "a job host for WebAssembly",
      "health": "/healthz",
      "name": "jobwright",
      "readiness": "/readyz"
    }
    "#);
    let posted = send(host.request(Method::POST, "/").body("x")).await?;
    assert_eq!(posted.code(405)?, "method_not_allowed");
    Ok(())
}

async fn the_start_page_is_refused_for_a_foreign_host_header() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let foreign = host.request(Method::GET, "/").header("accept", BROWSER);
    let answer = send(foreign.header("host", "evil.example")).await?;
    assert_eq!(answer.code(403)?, "foreign_host");
    Ok(())
}

async fn a_health_check_of_http_1_0_needs_no_host_header() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let ask = async |head: &str| Wire::with(&host, format!("{head}\r\n\r\n")).await?.answer().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&format!("GET {path} HTTP/1.0")).await?.0, 200, "{path}");
        assert_eq!(
            ask(&format!("GET {path} HTTP/1.0\r\nHost: evil.example")).await?.0,
            403,
            "{path}"
        );
        assert_eq!(ask(&format!("GET {path} HTTP/1.1")).await?.0, 403, "{path}");
        assert_eq!(ask(&format!("POST {path} HTTP/1.0")).await?.0, 403, "{path}");
    }
    for path in ["/", "/v1/jobs", "/v1/plugins", "/readyz/x"] {
        assert_eq!(ask(&format!("GET {path} HTTP/1.0")).await?.0, 403, "{path}");
    }
    Ok(())
}

async fn a_health_check_may_use_options() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let ask = async |head: &str| Wire::with(&host, format!("{head}\r\n\r\n")).await?.answer().await;
    // As HAProxy sends with a plain `option httpchk`.
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(ask(&format!("OPTIONS {path} HTTP/1.0")).await?, (204, String::new()), "{path}");
        assert_eq!(ask(&format!("OPTIONS {path} HTTP/1.1")).await?.0, 403, "{path}");
        let answer = send(host.request(Method::OPTIONS, path)).await?;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (204, "GET,HEAD,OPTIONS"));
    }
    assert_eq!(ask("OPTIONS /v1/jobs HTTP/1.0").await?.0, 403);
    Ok(())
}
