//! Every error response is a problem (RFC 9457) with a code and the id of the request.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use reqwest::Method;

use super::{Fixture, get, post, send};

pub fn trials() -> Vec<Trial> {
    tests![
        a_problem_has_code_detail_and_request_id,
        an_unknown_path_is_a_problem,
        a_method_that_a_path_does_not_support_is_a_problem,
        a_path_that_is_not_utf_8_is_a_problem,
        each_request_has_an_id_of_its_own,
    ]
}

async fn a_problem_has_code_detail_and_request_id() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let answer = post(&host, "/v1/jobs?plugin=none", "").await?;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_json_snapshot!(answer.json()?, { ".request_id" => "[id]" }, @r#"
    {
      "code": "plugin_not_found",
      "detail": "plugin `none` is not installed",
      "request_id": "[id]",
      "status": 404,
      "title": "Not Found",
      "type": "about:blank"
    }
    "#);
    assert_eq!(answer.json()?["request_id"], answer.header("x-request-id"));
    Ok(())
}

async fn an_unknown_path_is_a_problem() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    assert_json_snapshot!(get(&host, "/no/such/route").await?.problem(404)?, @r#"
    {
      "code": "no_such_route",
      "detail": "no route has this path"
    }
    "#);
    for path in
        ["/v1", "/v1/", "/v2/jobs", "/v1/jobs/", "/V1/JOBS", "//v1/jobs", "/v1/plugins/a/b/c/d"]
    {
        assert_eq!(get(&host, path).await?.code(404)?, "no_such_route", "{path}");
        assert_eq!(post(&host, path, "{}").await?.code(404)?, "no_such_route", "{path}");
    }
    Ok(())
}

async fn a_method_that_a_path_does_not_support_is_a_problem() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let answer = send(host.request(Method::DELETE, "/v1/jobs")).await?;
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    assert_json_snapshot!(answer.problem(405)?, @r#"
    {
      "code": "method_not_allowed",
      "detail": "this path does not support this method"
    }
    "#);
    for (method, path) in [
        (Method::POST, "/healthz"),
        (Method::POST, "/v1/plugins/p"),
        (Method::GET, "/v1/jobs/batch/x/cancel"),
        (Method::GET, "/v1/queues/default/pause"),
        (Method::OPTIONS, "/v1/jobs"),
        (Method::TRACE, "/v1/jobs"),
        (Method::from_bytes(b"BREW")?, "/v1/jobs"),
    ] {
        let answer = send(host.request(method, path)).await?;
        ensure!(matches!(answer.status.as_u16(), 404 | 405), "{path}: {answer:?}");
        answer.problem(answer.status.as_u16())?;
    }
    let head = send(host.request(Method::HEAD, "/v1/jobs")).await?;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let head = send(host.request(Method::HEAD, "/v1/jobs/7")).await?;
    assert_eq!((head.status.as_u16(), head.body.len()), (400, 0));
    Ok(())
}

async fn a_path_that_is_not_utf_8_is_a_problem() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for path in [
        "/v1/jobs/%FF",
        "/v1/jobs/%FF/output",
        "/v1/plugins/%C3",
        "/v1/plugins/p/versions/%FF",
        "/v1/queues/%80",
    ] {
        let answer = get(&host, path).await?;
        answer.problem(400)?;
    }
    for path in ["/v1/jobs/%", "/v1/jobs/%zz", "/v1/jobs/%2"] {
        assert_eq!(get(&host, path).await?.code(400)?, "invalid_job_id", "{path}");
    }
    Ok(())
}

async fn each_request_has_an_id_of_its_own() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let mut ids = std::collections::BTreeSet::new();
    for path in ["/healthz", "/healthz", "/v1/jobs", "/v1/jobs/7", "/none"] {
        // An id sent by a client is not used.
        let request = host.request(Method::GET, path).header("x-request-id", "mine");
        ids.insert(send(request).await?.header("x-request-id").to_owned());
    }
    ensure!(ids.len() == 5 && !ids.contains("mine"), "{ids:?}");
    Ok(())
}
