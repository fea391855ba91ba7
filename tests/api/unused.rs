//! Bodies and queries are used or refused, never ignored, on every route.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright::api::Route;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::{Answer, Fixture, get, post, send};

pub fn trials() -> Vec<Trial> {
    tests![
        no_route_ignores_a_body,
        no_route_ignores_a_query,
        an_empty_body_is_accepted_on_every_route,
        a_retry_with_fields_explains_that_it_changes_nothing,
        a_long_body_on_a_route_without_body_is_refused,
    ]
}

/// A path of the route with existing resources.
fn path(route: &Route, job: &str) -> String {
    let digest = format!("sha256:{}", "0".repeat(64));
    let name = if route.path.starts_with("/plugins") { "p" } else { "default" };
    let id = if route.path.starts_with("/jobs") { job } else { "key-0" };
    let path = route.path.replace("{name}", name).replace("{version}", "1.0.0");
    format!("/v1{}", path.replace("{id}", id).replace("{digest}", &digest))
}

/// A host with a job that waits.
async fn fixture() -> anyhow::Result<(Fixture, String)> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({ "delay_ms": 3_600_000 })).await?;
    Ok((fixture, id))
}

async fn no_route_ignores_a_body() -> anyhow::Result<()> {
    let (fixture, id) = fixture().await?;
    let before = fixture.host.job(&id).await?;
    let routes = jobwright::api::routes();
    ensure!(routes.iter().filter(|route| route.takes_body).count() > 8);
    for route in routes.iter().filter(|route| !route.takes_body) {
        let ask = async |body: &'static str| {
            send(fixture.host.request(route.method.clone(), &path(route, &id)).body(body)).await
        };
        let problem = ask(r#"{"bogus":1,"plugin":"p@2"}"#).await?.problem(422)?;
        let fields = problem["errors"].as_array().map_or(0, Vec::len);
        assert_eq!((&problem["code"], fields), (&json!("invalid_fields"), 2), "{route:?}");
        for other in ["not json", "[]", "7", "\"\"", "{", "{}{}"] {
            assert_eq!(ask(other).await?.code(400)?, "unexpected_body", "{route:?}: {other}");
        }
    }
    assert_eq!(fixture.host.job(&id).await?, before, "a request had an effect");
    Ok(())
}

async fn no_route_ignores_a_query() -> anyhow::Result<()> {
    let (fixture, id) = fixture().await?;
    for route in jobwright::api::routes() {
        let path = format!("{}?bogus=1&other=2", path(&route, &id));
        let answer = send(fixture.host.request(route.method.clone(), &path)).await?;
        ensure!(matches!(answer.status.as_u16(), 400 | 422), "{route:?}: {answer:?}");
        let named = answer.json()?["errors"].to_string();
        ensure!(named.contains("bogus") && named.contains("other"), "{route:?}: {named}");
    }
    Ok(())
}

async fn an_empty_body_is_accepted_on_every_route() -> anyhow::Result<()> {
    let (fixture, id) = fixture().await?;
    for nothing in ["", "{}", " { }\n", "null", "\r\n", "\u{feff}", "\u{feff}{}"] {
        post(&fixture.host, "/v1/queues/q/pause", nothing).await?.ok(200)?;
        post(&fixture.host, "/v1/queues/q/resume", nothing).await?.ok(200)?;
        post(&fixture.host, &format!("/v1/jobs/{id}/cancel"), nothing).await?.ok(200)?;
        post(&fixture.host, "/v1/plugins/p/enable", nothing).await?.ok(200)?;
    }
    get(&fixture.host, "/v1/jobs").await?.ok(200)?;
    Ok(())
}

async fn a_retry_with_fields_explains_that_it_changes_nothing() -> anyhow::Result<()> {
    let (fixture, id) = fixture().await?;
    let retry = async |body: &str| -> anyhow::Result<Answer> {
        post(&fixture.host, &format!("/v1/jobs/{id}/retry"), body).await
    };
    assert_json_snapshot!(retry(r#"{"plugin":"p@1.0.1"}"#).await?.problem(422)?, @r#"
    {
      "code": "invalid_fields",
      "detail": "plugin: is not a field of this request, which takes no body; a retry runs the job as it was submitted, with the same version of its plugin: to run another version, submit a new job",
      "errors": [
        {
          "field": "plugin",
          "message": "is not a field of this request, which takes no body"
        }
      ]
    }
    "#);
    let problem = retry("not json").await?.problem(400)?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    let says = "POST /v1/jobs/{id}/retry takes no body: send none; a retry runs the job as it was";
    ensure!(detail.starts_with(says), "{detail}");
    assert_eq!(fixture.host.job(&id).await?["state"], "scheduled");
    Ok(())
}

async fn a_long_body_on_a_route_without_body_is_refused() -> anyhow::Result<()> {
    let (fixture, id) = fixture().await?;
    let path = format!("/v1/jobs/{id}/cancel");
    let answer = post(&fixture.host, &path, " ".repeat(1 << 20)).await?;
    assert_eq!(answer.code(400)?, "unexpected_body");
    Ok(())
}
