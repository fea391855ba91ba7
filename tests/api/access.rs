//! Access control: keys, scopes and tenants, on every route.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright::api::Route;
use jobwright_core::access::Scope;
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Fixture, get, post, send};

pub fn trials() -> Vec<Trial> {
    tests![
        every_route_demands_a_key_once_there_is_one,
        every_route_demands_its_scope,
        no_route_shows_or_changes_resources_of_another_tenant,
        only_an_administrator_acts_for_another_tenant,
        a_key_is_shown_once_and_kept_as_a_digest,
        a_key_ends_at_its_time_and_when_it_is_revoked,
        the_first_key_and_the_last_belong_to_administrators,
        an_invalid_key_is_refused_with_every_reason,
        tenants_do_not_share_idempotency_keys,
        a_tenant_above_its_own_limits_gets_429,
        a_tenant_above_its_rate_gets_429_with_retry_after,
        a_tenant_has_its_own_bound_on_plugin_bytes,
        a_key_that_may_only_submit_does_not_see_details_of_other_jobs,
    ]
}

/// A fixture with an administrator's key.
pub(super) async fn fixture() -> anyhow::Result<(Fixture, String)> {
    let fixture = Fixture::new().await?;
    let admin = key(&fixture.host, None, json!({ "scopes": ["admin"] })).await?;
    Ok((fixture, admin))
}

/// Creates a key, and returns its token.
pub(super) async fn key(host: &TestHost, by: Option<&str>, draft: Value) -> anyhow::Result<String> {
    let made = ask(host, by, Method::POST, "/v1/keys", draft).await?.ok(201)?;
    Ok(made["key"].as_str().context("a token")?.to_owned())
}

pub(super) async fn ask(
    host: &TestHost,
    by: Option<&str>,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<Answer> {
    let request = host.request(method, path);
    let request = by.iter().fold(request, |request, token| request.bearer_auth(token));
    send(if body.is_null() { request } else { request.json(&body) }).await
}

/// A path of the route, with these values for its parameters.
fn path(route: &Route, job: &str, plugin: &str) -> String {
    let name = match route.path {
        path if path.starts_with("/plugins") => plugin,
        // Disabling this digest affects no other test.
        path if path.starts_with("/tenants") => "nobody",
        _ => "default",
    };
    let id = if route.path.starts_with("/jobs") { job } else { "key-0" };
    let digest = format!("sha256:{}", "0".repeat(64));
    let path = route.path.replace("{name}", name).replace("{version}", "1.0.0");
    format!("/v1{}", path.replace("{id}", id).replace("{digest}", &digest))
}

/// A valid body for the route.
fn body(route: &Route) -> Value {
    match (route.method.as_str(), route.path) {
        ("POST", "/jobs") => json!({ "plugin": "p" }),
        ("POST", "/jobs/batch") => json!([{ "plugin": "p" }]),
        ("GET" | "DELETE", _) => Value::Null,
        _ => json!({}),
    }
}

async fn every_route_demands_a_key_once_there_is_one() -> anyhow::Result<()> {
    let (fixture, _) = fixture().await?;
    let routes = jobwright::api::routes();
    ensure!(routes.len() > 30, "the list of routes is incomplete");
    for route in routes {
        let path = path(&route, "0", "p");
        for token in [None, Some("wrong")] {
            let answer =
                ask(&fixture.host, token, route.method.clone(), &path, body(&route)).await?;
            assert_eq!(answer.code(401)?, "unauthorized", "{route:?}");
        }
    }
    assert_eq!(get(&fixture.host, "/healthz").await?.status, StatusCode::OK);
    Ok(())
}

async fn every_route_demands_its_scope() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    for scope in Scope::ALL {
        let others: Vec<Scope> = Scope::ALL
            .into_iter()
            .filter(|other| *other != scope && *other != Scope::Admin)
            .collect();
        let draft = json!({ "scopes": others });
        let without = key(&fixture.host, Some(&admin), draft).await?;
        let with = key(&fixture.host, Some(&admin), json!({ "scopes": [scope] })).await?;
        for route in jobwright::api::routes().into_iter().filter(|route| route.scope == scope) {
            let path = path(&route, "no-job", "no-plugin");
            let ask = async |token| {
                ask(&fixture.host, Some(token), route.method.clone(), &path, body(&route)).await
            };
            assert_eq!(ask(&without).await?.code(403)?, "scope_missing", "{route:?}");
            let answer = ask(&with).await?;
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
            assert!(!refused.contains(&answer.status), "{route:?}: {answer:?}");
        }
    }
    Ok(())
}

/// All resources that a tenant can read.
async fn seen(host: &TestHost, token: &str, job: &str) -> anyhow::Result<Vec<Value>> {
    let mut seen = vec![];
    for path in
        ["/v1/plugins", "/v1/plugins/p", "/v1/jobs", "/v1/queues", &format!("/v1/jobs/{job}")]
    {
        seen.push(ask(host, Some(token), Method::GET, path, Value::Null).await?.ok(200)?);
    }
    Ok(seen)
}

async fn no_route_shows_or_changes_resources_of_another_tenant() -> anyhow::Result<()> {
    const MARK: &str = "only-for-acme";
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let scopes = json!(["plugins:write", "jobs:submit", "jobs:read", "jobs:replay"]);
    let owner =
        key(host, Some(&admin), json!({ "tenant": "acme", "scopes": scopes.clone() })).await?;
    let outsider = key(host, Some(&admin), json!({ "tenant": "other", "scopes": scopes })).await?;
    let upload = host.request(Method::PUT, "/v1/plugins/p?version=1.0.0").bearer_auth(&owner);
    send(upload.body(MARK)).await?.ok(201)?;
    let draft = json!({ "plugin": "p", "payload": MARK, "tags": [MARK], "delay_ms": 3_600_000 });
    let job = ask(host, Some(&owner), Method::POST, "/v1/jobs", draft).await?.ok(202)?;
    let job = job["id"].as_str().context("an id")?;
    let before = seen(host, &owner, job).await?;

    let mut routes = jobwright::api::routes();
    // The upload comes last: it gives the other tenant a plugin of the same name.
    routes.sort_by_key(|route| route.method == Method::PUT);
    for route in routes.iter().filter(|route| route.scope != Scope::Admin) {
        let path = path(route, job, "p");
        let answer = ask(host, Some(&outsider), route.method.clone(), &path, body(route)).await?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(!text.contains(MARK), "{route:?}: {text}");
        let shows = text.contains("created_at") && route.method != Method::PUT;
        ensure!(!shows, "{route:?}: {text}");
        if route.path.starts_with("/jobs/{id}") {
            assert_eq!(answer.code(404)?, "job_not_found", "{route:?}");
        }
        if route.path.starts_with("/plugins/{name}") && route.path.ends_with("able") {
            continue; // this route concerns the tenant's own plugin of this name
        }
        if route.path.starts_with("/plugins/{name}") && route.method == Method::GET {
            ensure!(answer.status == StatusCode::NOT_FOUND, "{route:?}: {answer:?}");
        }
        assert_eq!(seen(host, &owner, job).await?, before, "after {route:?}");
    }
    Ok(())
}

async fn only_an_administrator_acts_for_another_tenant() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let draft = json!({ "tenant": "acme", "scopes": ["jobs:read"] });
    let reader = key(host, Some(&admin), draft).await?;
    let list = async |token: &str, tenant: &str| {
        let request = host.request(Method::GET, "/v1/plugins").bearer_auth(token);
        send(request.header("jobwright-tenant", tenant)).await
    };
    let count = |answer: Value| answer["plugins"].as_array().map_or(0, Vec::len);
    assert_eq!(count(list(&admin, "default").await?.ok(200)?), 1);
    assert_eq!(count(list(&admin, "acme").await?.ok(200)?), 0);
    assert_eq!(list(&reader, "acme").await?.status, StatusCode::OK);
    assert_eq!(list(&reader, "default").await?.code(403)?, "other_tenant");
    assert_eq!(list(&admin, "NO NAME").await?.code(400)?, "invalid_name");
    Ok(())
}

async fn a_key_is_shown_once_and_kept_as_a_digest() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let draft = json!({ "name": "deploys", "scopes": ["admin"], "tenant": "acme" });
    let made = post(&host, "/v1/keys", draft).await?.ok(201)?;
    let token = made["key"].as_str().context("a token")?;
    ensure!(token.starts_with("jwk_") && token.len() == 47, "{token}");
    let listed = ask(&host, Some(token), Method::GET, "/v1/keys", Value::Null).await?;
    ensure!(!listed.text()?.contains(token), "{listed:?}");
    let key = &listed.ok(200)?["keys"][0];
    assert_eq!((&key["id"], &key["name"]), (&made["id"], &json!("deploys")));
    assert_eq!((&key["tenant"], &key["scopes"]), (&json!("acme"), &json!(["admin"])));
    // The token is in no file either, and is valid after a restart.
    let directory = host.stop().await?;
    for file in std::fs::read_dir(directory.path())?.filter_map(Result::ok) {
        if file.file_type()?.is_file() {
            let bytes = std::fs::read(file.path())?;
            let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
            ensure!(!found, "the token is in {:?}", file.file_name());
        }
    }
    let host = TestHost::on(directory, |_| {}).await?;
    assert_eq!(get(&host, "/v1/jobs").await?.code(401)?, "unauthorized");
    ask(&host, Some(token), Method::GET, "/v1/jobs", Value::Null).await?.ok(200)?;
    Ok(())
}

async fn a_key_ends_at_its_time_and_when_it_is_revoked() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let read =
        async |token: &str| ask(host, Some(token), Method::GET, "/v1/jobs", Value::Null).await;
    let draft = json!({ "scopes": ["jobs:read"], "expires_in_s": 60 });
    let short = key(host, Some(&admin), draft).await?;
    fixture.clock.advance(Duration::from_secs(59));
    read(&short).await?.ok(200)?;
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(read(&short).await?.code(401)?, "unauthorized");

    let draft = json!({ "scopes": ["jobs:read"] });
    let made = ask(host, Some(&admin), Method::POST, "/v1/keys", draft).await?.ok(201)?;
    let token = made["key"].as_str().context("a token")?;
    read(token).await?.ok(200)?;
    let path = format!("/v1/keys/{}", made["id"].as_str().context("an id")?);
    let revoked = ask(host, Some(&admin), Method::DELETE, &path, Value::Null).await?.ok(200)?;
    ensure!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(read(token).await?.code(401)?, "unauthorized");
    let unknown = ask(host, Some(&admin), Method::DELETE, "/v1/keys/key-x", Value::Null).await?;
    assert_eq!(unknown.code(404)?, "key_not_found");
    Ok(())
}

/// Otherwise keys could not be created any more, or requests would need none.
async fn the_first_key_and_the_last_belong_to_administrators() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let host = &fixture.host;
    let draft = json!({ "scopes": ["jobs:read"] });
    assert_eq!(post(host, "/v1/keys", draft.clone()).await?.code(409)?, "first_key");
    let made = post(host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.ok(201)?;
    let (admin, id) = (made["key"].as_str().unwrap_or_default(), &made["id"]);
    key(host, Some(admin), draft).await?;
    let path = format!("/v1/keys/{}", id.as_str().unwrap_or_default());
    let last = ask(host, Some(admin), Method::DELETE, &path, Value::Null).await?;
    assert_eq!(last.code(409)?, "last_key");
    let next = key(host, Some(admin), json!({ "scopes": ["admin"] })).await?;
    ask(host, Some(admin), Method::DELETE, &path, Value::Null).await?.ok(200)?;
    ask(host, Some(&next), Method::GET, "/v1/keys", Value::Null).await?.ok(200)?;
    Ok(())
}

async fn an_invalid_key_is_refused_with_every_reason() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let draft = json!({
        "name": "a\nb", "tenant": "NO", "scopes": ["jobs:reed", "admin"], "expires_in_s": -1, "x": 1,
    });
    let problem = post(&fixture.host, "/v1/keys", draft).await?.problem(422)?;
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .context("errors")?
        .iter()
        .filter_map(|error| error["field"].as_str())
        .collect();
    assert_eq!(fields, ["name", "tenant", "scopes", "expires_in_s", "x"]);
    for empty in [json!({}), json!({ "scopes": [] })] {
        let problem = post(&fixture.host, "/v1/keys", empty).await?.problem(422)?;
        assert_eq!(problem["errors"][0]["field"], "scopes");
    }
    Ok(())
}

async fn tenants_do_not_share_idempotency_keys() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let submit = async |tenant: &str| {
        let ask = |path: &str, method| {
            let request = fixture.host.request(method, path).bearer_auth(&admin);
            request.header("jobwright-tenant", tenant.to_owned())
        };
        send(ask("/v1/plugins/p", Method::PUT).body(tenant.to_owned())).await?;
        let request = ask("/v1/jobs", Method::POST).header("idempotency-key", "k");
        let job = send(request.json(&json!({ "plugin": "p" }))).await?.ok(202)?;
        anyhow::Ok(job["id"].clone())
    };
    let ids = [submit("a").await?, submit("b").await?, submit("default").await?];
    ensure!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(submit("a").await?, ids[0]);
    Ok(())
}

/// Sets limits of the default tenant.
async fn limit(host: &TestHost, limits: Value) -> anyhow::Result<Value> {
    let body = json!({ "limits": limits });
    ask(host, None, Method::PATCH, "/v1/tenants/default", body).await?.ok(200)
}

async fn a_tenant_above_its_own_limits_gets_429() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let set = limit(&fixture.host, json!({ "jobs": 1, "payload_bytes": 100 })).await?;
    assert_eq!(set["limits"], json!({ "jobs": 1, "payload_bytes": 100 }));
    let submit = async |job: Value| post(&fixture.host, "/v1/jobs", job).await;
    let large = json!({ "plugin": "p", "payload": "x".repeat(100) });
    let problem = submit(large.clone()).await?;
    assert_eq!(problem.header("retry-after"), "1");
    assert_eq!(problem.problem(429)?["capacity_bytes"], 100);
    submit(json!({ "plugin": "p" })).await?.ok(202)?;
    let problem = submit(json!({ "plugin": "p" })).await?.problem(429)?;
    assert_eq!((&problem["code"], &problem["depth"]), (&json!("tenant_full"), &json!(1)));
    limit(&fixture.host, json!({ "jobs": null })).await?;
    submit(json!({ "plugin": "p" })).await?.ok(202)?;
    limit(&fixture.host, Value::Null).await?;
    submit(large).await?.ok(202)?;
    Ok(())
}

async fn a_tenant_above_its_rate_gets_429_with_retry_after() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    limit(&fixture.host, json!({ "jobs_per_second": 2 })).await?;
    let submit = async || post(&fixture.host, "/v1/jobs", json!({ "plugin": "p" })).await;
    submit().await?.ok(202)?;
    submit().await?.ok(202)?;
    let refused = submit().await?;
    assert_eq!(refused.header("retry-after"), "1");
    let problem = refused.problem(429)?;
    assert_eq!(problem["code"], "too_fast");
    let remedy = "jobwright tenant set default --jobs-per-second";
    ensure!(problem["detail"].to_string().contains(remedy), "{problem}");
    let batch = json!([{ "plugin": "p" }, { "plugin": "p" }]);
    assert_eq!(post(&fixture.host, "/v1/jobs/batch", &batch).await?.code(429)?, "too_fast");
    fixture.clock.advance(Duration::from_secs(1));
    post(&fixture.host, "/v1/jobs/batch", &batch).await?.ok(200)?;
    assert_eq!(submit().await?.code(429)?, "too_fast");
    let problem = ask(
        &fixture.host,
        None,
        Method::PATCH,
        "/v1/tenants/default",
        json!({ "limits": { "jobs_per_second": 0, "jobs": "x", "fast": 1 } }),
    );
    assert_eq!(problem.await?.problem(422)?["errors"].as_array().map_or(0, Vec::len), 3);
    Ok(())
}

async fn a_tenant_has_its_own_bound_on_plugin_bytes() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    limit(&fixture.host, json!({ "plugin_bytes": 100 })).await?;
    let upload = async |tenant: &str, version: &str, bytes: usize| {
        let path = format!("/v1/plugins/q?version={version}");
        let request = fixture.host.request(Method::PUT, &path).header("jobwright-tenant", tenant);
        send(request.body(vec![b'x'; bytes])).await
    };
    let refused = upload("default", "1.0.0", 90).await?.problem(507)?;
    assert_eq!(
        refused["detail"],
        "tenant `default` holds 17 bytes of plugins of at most 100 bytes; remove some first; an \
         administrator raises it with `jobwright tenant set default --plugin-bytes N`"
    );
    upload("default", "1.0.0", 70).await?.ok(201)?;
    upload("other", "1.0.0", 1000).await?.ok(201)?;
    Ok(())
}

async fn a_key_that_may_only_submit_does_not_see_details_of_other_jobs() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let submitter = key(host, Some(&admin), json!({ "scopes": ["jobs:submit"] })).await?;
    let both = json!({ "scopes": ["jobs:submit", "jobs:read"] });
    let reader = key(host, Some(&admin), both).await?;
    // In a paused queue, the retried job stays available.
    ask(host, Some(&admin), Method::POST, "/v1/queues/q/pause", Value::Null).await?.ok(200)?;
    let draft = json!({
        "plugin": "p", "queue": "q", "args": ["--token=t0ken"], "env": { "A": "b" },
        "delay_ms": 3_600_000,
    });
    let job = ask(host, Some(&reader), Method::POST, "/v1/jobs", draft).await?.ok(202)?;
    let id = job["id"].as_str().context("an id")?;
    for (action, status, state) in [("cancel", 200, "cancelled"), ("retry", 202, "available")] {
        let path = format!("/v1/jobs/{id}/{action}");
        let told = ask(host, Some(&submitter), Method::POST, &path, Value::Null).await?;
        assert_eq!(told.header("location"), format!("/v1/jobs/{id}"));
        assert_eq!(told.ok(status)?, json!({ "id": id, "state": state, "attempt": 0 }));
        // Cancelled, so that the job can be retried next.
        if action == "cancel" {
            let told = ask(host, Some(&reader), Method::POST, &path, Value::Null).await?;
            assert_eq!(told.ok(status)?["args"], json!(["--token=t0ken"]));
        }
    }
    // A request that waits for its own job gets its details.
    let wait = host.request(Method::POST, "/v1/jobs").bearer_auth(&submitter);
    let wait = wait.header("prefer", "wait=20").json(&json!({ "plugin": "p", "args": ["mine"] }));
    let (answer, _) = tokio::try_join!(send(wait), fixture.succeeds())?;
    assert_eq!(answer.ok(200)?["args"], json!(["mine"]));
    Ok(())
}
