//! Secrets over HTTP: set, listed by name, and removed, but never shown.

use insta::assert_json_snapshot;
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Answer, Fixture, delete, get, put};

pub fn trials() -> Vec<Trial> {
    tests![
        a_secret_is_set_listed_replaced_and_removed_and_never_shown,
        secrets_are_there_after_a_restart,
        invalid_secrets_are_refused_without_quoting_them,
        invalid_names_of_secrets_are_refused,
        a_value_in_the_wrong_field_is_not_quoted,
    ]
}

const VALUE: &str = "s3cr3t-v4lue";

/// Checks that a response has no part of the secret.
fn tells_nothing(answer: &Answer) -> anyhow::Result<()> {
    let text = format!("{:?} {}", answer.headers, answer.text()?);
    anyhow::ensure!(!text.contains("s3cr3t"), "{text}");
    Ok(())
}

async fn a_secret_is_set_listed_replaced_and_removed_and_never_shown() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    assert_eq!(get(&host, "/v1/secrets").await?.ok(200)?, json!({ "secrets": [] }));
    let secret = json!({ "value": VALUE, "origins": ["https://API.example.com:443"] });
    let set = put(&host, "/v1/secrets/KEY", secret.to_string()).await?;
    tells_nothing(&set)?;
    assert_json_snapshot!(set.ok(201)?, { ".created_at" => "[when]" }, @r#"
    {
      "created_at": "[when]",
      "name": "KEY",
      "origins": [
        "https://api.example.com"
      ]
    }
    "#);
    let secret = json!({ "value": "0ther-s3cr3t", "origins": ["http://*.example.org:*"] });
    let replaced = put(&host, "/v1/secrets/KEY", secret.to_string()).await?;
    tells_nothing(&replaced)?;
    let listed = get(&host, "/v1/secrets").await?;
    tells_nothing(&listed)?;
    assert_eq!(listed.ok(200)?, json!({ "secrets": [replaced.ok(200)?] }));
    assert_eq!(delete(&host, "/v1/secrets/KEY").await?.status, 204);
    assert_eq!(delete(&host, "/v1/secrets/KEY").await?.code(404)?, "secret_not_found");
    assert_eq!(get(&host, "/v1/secrets").await?.ok(200)?, json!({ "secrets": [] }));
    Ok(())
}

async fn secrets_are_there_after_a_restart() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let secret = json!({ "value": VALUE, "origins": ["https://api.example.com"] });
    put(&host, "/v1/secrets/KEY", secret.to_string()).await?.ok(201)?;
    let before = get(&host, "/v1/secrets").await?.ok(200)?;
    let host = TestHost::on(host.stop().await?, |_| {}).await?;
    assert_eq!(get(&host, "/v1/secrets").await?.ok(200)?, before);
    Ok(())
}

async fn invalid_secrets_are_refused_without_quoting_them() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let secret = json!({
        "value": "s3cr3t\nline", "origins": ["https://*.com", "ftp://a.example.com"], "orign": 1,
    });
    let answer = put(&host, "/v1/secrets/KEY", secret.to_string()).await?;
    tells_nothing(&answer)?;
    assert_json_snapshot!(answer.problem(422)?["errors"], @r#"
    [
      {
        "field": "origins.0",
        "message": "is not an origin: use `https://api.example.com`, `http://127.0.0.1:8080`, `https://*.example.com` or `https://*`, without a path, and `:*` for any port"
      },
      {
        "field": "origins.1",
        "message": "is not an origin: use `https://api.example.com`, `http://127.0.0.1:8080`, `https://*.example.com` or `https://*`, without a path, and `:*` for any port"
      },
      {
        "field": "value",
        "message": "a secret is made of visible ASCII characters, and spaces between them; byte 7 of this one is neither"
      },
      {
        "field": "secret",
        "message": "has other fields than `value` and `origins`"
      }
    ]
    "#);
    let origins = json!(["https://a.example.com"]);
    for wrong in [
        json!({}),
        json!({ "value": VALUE }),
        json!({ "value": VALUE, "origins": [] }),
        json!({ "value": VALUE, "origins": vec!["https://a.example.com"; 17] }),
        json!({ "value": VALUE, "origins": "https://a.example.com" }),
        json!({ "value": ["s3cr3t-v4lue"], "origins": origins }),
        json!({ "value": "s3cr3t", "origins": origins }),
        json!({ "value": "s3cr3t".repeat(700), "origins": origins }),
        json!({ "origins": origins }),
    ] {
        let answer = put(&host, "/v1/secrets/KEY", wrong.to_string()).await?;
        tells_nothing(&answer)?;
        assert_eq!(answer.code(422)?, "invalid_fields", "{wrong}");
    }
    let answer = put(&host, "/v1/secrets/KEY", format!("{{\"value\":\"{VALUE}\"")).await?;
    tells_nothing(&answer)?;
    assert_eq!(answer.code(400)?, "invalid_json");
    assert_eq!(get(&host, "/v1/secrets").await?.ok(200)?, json!({ "secrets": [] }));
    Ok(())
}

async fn invalid_names_of_secrets_are_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let secret = json!({ "value": VALUE, "origins": ["https://api.example.com"] }).to_string();
    for name in ["1A", "A-B", "a.b", &"A".repeat(65), "%20"] {
        let path = format!("/v1/secrets/{name}");
        assert_eq!(put(&host, &path, secret.clone()).await?.code(400)?, "invalid_name", "{name}");
        assert_eq!(delete(&host, &path).await?.code(400)?, "invalid_name", "{name}");
    }
    Ok(())
}

async fn a_value_in_the_wrong_field_is_not_quoted() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let origins = r#""origins": ["https://a.example.com"]"#;
    for wrong in [
        format!(r#"{{ "value": "{VALUE}", "origins": "{VALUE}" }}"#),
        format!(r#"{{ "value": "{VALUE}", "origins": ["{VALUE}"] }}"#),
        format!(r#"{{ "value": "{VALUE}", "origins": {{ "{VALUE}": 1 }} }}"#),
        format!(r#"{{ "{VALUE}": 1, {origins} }}"#),
        format!(r#"{{ "{VALUE}": 1, "{VALUE}": 2, "value": "{VALUE}", {origins} }}"#),
        format!(r#"{{ "value": "{VALUE}", "value": "{VALUE}", {origins} }}"#),
    ] {
        let answer = put(&host, "/v1/secrets/KEY", wrong.clone()).await?;
        tells_nothing(&answer)?;
        assert_eq!(answer.code(422)?, "invalid_fields", "{wrong}");
    }
    Ok(())
}
