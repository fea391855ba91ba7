//! Keys that end, and what must never run out: an administrator's key, and room for keys and tenants.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwright_core::access::ApiKey;
use jobwright_core::clock::Timestamp;
use jobwright_tests::{TestHost, tests, write_private};
use libtest_mimic::Trial;
use reqwest::Method;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::access::{ask, fixture, key};
use super::{Fixture, patch, post};

pub fn trials() -> Vec<Trial> {
    tests![
        the_first_key_does_not_expire,
        a_key_that_expires_in_the_past_is_refused,
        the_last_admin_key_without_expiry_cannot_be_revoked,
        a_listed_key_shows_its_state,
        a_key_from_a_file_restores_access,
        expired_and_revoked_keys_are_replaced_by_new_ones,
        removing_a_tenants_limits_makes_room_for_another_tenant,
    ]
}

async fn the_first_key_does_not_expire() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let draft = json!({ "scopes": ["admin"], "expires_in_s": 3600 });
    let refused = post(&host, "/v1/keys", draft.clone()).await?.problem(409)?;
    assert_eq!(refused["code"], "first_key");
    // No key was created: requests still need none.
    let admin = key(&host, None, json!({ "scopes": ["admin"] })).await?;
    key(&host, Some(&admin), draft).await?;
    Ok(())
}

async fn a_key_that_expires_in_the_past_is_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let draft = json!({ "scopes": ["admin"], "expires_in_s": 0 });
    let problem = post(&host, "/v1/keys", draft).await?.problem(422)?;
    assert_eq!(
        problem["detail"],
        "expires_in_s: expected a whole number of seconds from 1, got `0`"
    );
    Ok(())
}

async fn the_last_admin_key_without_expiry_cannot_be_revoked() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let host = &fixture.host;
    let make = async |by: Option<&str>, draft: Value| {
        let made = ask(host, by, Method::POST, "/v1/keys", draft).await?.ok(201)?;
        let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
        anyhow::Ok((text("key"), format!("/v1/keys/{}", text("id"))))
    };
    let (lasting, its_path) = make(None, json!({ "scopes": ["admin"] })).await?;
    let short = json!({ "scopes": ["admin"], "expires_in_s": 60 });
    let (short, short_path) = make(Some(&lasting), short).await?;
    let revoke =
        async |path: &str| ask(host, Some(&short), Method::DELETE, path, Value::Null).await;
    let refused = revoke(&its_path).await?.problem(409)?;
    assert_eq!(refused["code"], "last_key");
    let detail = refused["detail"].as_str().unwrap_or_default();
    ensure!(detail.ends_with("create another such key first"), "{detail}");
    let (next, _) = make(Some(&short), json!({ "scopes": ["admin"] })).await?;
    for _ in 0..2 {
        ensure!(revoke(&its_path).await?.ok(200)?["revoked_at"].is_string());
    }
    revoke(&short_path).await?.ok(200)?;
    fixture.clock.advance(Duration::from_secs(3600));
    make(Some(&next), json!({ "scopes": ["jobs:read"] })).await?;
    Ok(())
}

async fn a_listed_key_shows_its_state() -> anyhow::Result<()> {
    let (fixture, admin) = fixture().await?;
    let host = &fixture.host;
    let short = json!({ "scopes": ["jobs:read"], "expires_in_s": 60 });
    key(host, Some(&admin), short.clone()).await?;
    let made = ask(host, Some(&admin), Method::POST, "/v1/keys", short).await?.ok(201)?;
    assert_eq!(made["state"], "valid");
    let path = format!("/v1/keys/{}", made["id"].as_str().context("an id")?);
    let revoked = ask(host, Some(&admin), Method::DELETE, &path, Value::Null).await?.ok(200)?;
    assert_eq!(revoked["state"], "revoked");
    fixture.clock.advance(Duration::from_secs(60));
    let listed = ask(host, Some(&admin), Method::GET, "/v1/keys", Value::Null).await?.ok(200)?;
    let keys = listed["keys"].as_array().context("keys")?;
    let mut states: Vec<_> = keys.iter().filter_map(|key| key["state"].as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["expired", "revoked", "valid"]);
    Ok(())
}

async fn a_key_from_a_file_restores_access() -> anyhow::Result<()> {
    const KEY: &str = "0123456789abcdef-of-the-file";
    let host = TestHost::start().await?;
    key(&host, None, json!({ "scopes": ["admin"] })).await?;
    let refused = post(&host, "/v1/keys", json!({ "scopes": ["admin"] })).await?.problem(401)?;
    let detail = refused["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("--api-keys FILE"), "{detail}");
    let directory = host.stop().await?;
    let file = directory.path().join("keys.txt");
    write_private(&file, KEY)?;
    let host = TestHost::on(directory, |config| config.api_keys = Some(file)).await?;
    let made = key(&host, Some(KEY), json!({ "scopes": ["admin"] })).await?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    ask(&host, Some(&made), Method::GET, "/v1/keys", Value::Null).await?.ok(200)?;
    Ok(())
}

/// The maximum number of keys of a host.
const MOST_KEYS: usize = 10_000;

/// Creates `keys` keys, and revokes all but the first.
fn fill(directory: &Path, keys: usize) -> anyhow::Result<()> {
    let mut db = Connection::open(directory.join("access.db"))?;
    let change = db.transaction()?;
    for n in 1..=i64::try_from(keys)? {
        let key = ApiKey {
            id: format!("key-{n:06}"),
            name: String::new(),
            tenant: "gone".parse()?,
            scopes: Default::default(),
            created_at: Timestamp::from_second(n)?,
            expires_at: None,
            revoked_at: (n > 1).then_some(Timestamp::from_second(n)?),
        };
        let token = [[0; 24].as_slice(), &n.to_be_bytes()].concat();
        let row = params![key.id, token, serde_json::to_string(&key)?];
        change.execute("INSERT INTO key VALUES (?1, ?2, ?3)", row)?;
    }
    Ok(change.commit()?)
}

async fn expired_and_revoked_keys_are_replaced_by_new_ones() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let admin = key(&host, None, json!({ "scopes": ["admin"] })).await?;
    let directory = host.stop().await?;
    fill(directory.path(), MOST_KEYS - 1)?;
    let listed = async |host: &TestHost| {
        let keys = ask(host, Some(&admin), Method::GET, "/v1/keys", Value::Null).await?.ok(200)?;
        let keys = keys["keys"].as_array().context("keys")?.clone();
        anyhow::Ok((keys.len(), keys.into_iter().map(|key| key["id"].clone()).take(3)))
    };
    let host = TestHost::on(directory, |_| {}).await?;
    let made = key(&host, Some(&admin), json!({ "scopes": ["jobs:read"] })).await?;
    let (count, oldest) = listed(&host).await?;
    assert_eq!(count, MOST_KEYS);
    assert_eq!(oldest.collect::<Vec<_>>(), ["key-000001", "key-000003", "key-000004"]);
    ask(&host, Some(&made), Method::GET, "/v1/jobs", Value::Null).await?.ok(200)?;
    // Removed keys stay removed.
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    assert_eq!(listed(&host).await?.0, MOST_KEYS);
    Ok(())
}

async fn removing_a_tenants_limits_makes_room_for_another_tenant() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let limit = async |n: usize, limits: Value| {
        patch(&host, &format!("/v1/tenants/t{n}"), json!({ "limits": limits })).await
    };
    for n in 0..1000 {
        limit(n, json!({ "jobs": 1 })).await?.ok(200)?;
    }
    let refused = limit(1000, json!({ "jobs": 1 })).await?;
    assert_eq!(refused.code(409)?, "too_many_tenants");
    limit(7, json!({ "jobs": null })).await?.ok(200)?;
    limit(1000, json!({ "jobs": 1 })).await?.ok(200)?;
    limit(8, Value::Null).await?.ok(200)?;
    limit(1001, json!({ "jobs": 1 })).await?.ok(200)?;
    Ok(())
}
