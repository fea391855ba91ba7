//! Jobs with limits above the ceilings, and requests that are too large.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::limits::Fuel;
use jobwright_tests::tests;
use libtest_mimic::Trial;
use serde_json::json;

use super::{Fixture, get, post};

pub fn trials() -> Vec<Trial> {
    tests![
        limits_above_the_ceilings_are_refused_with_both_values,
        a_payload_over_its_limit_is_refused,
        a_request_with_many_unknown_fields_gets_a_short_problem,
    ]
}

async fn limits_above_the_ceilings_are_refused_with_both_values() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::configured(|config| {
        config.limits.fuel = Some(Fuel::Units(1000));
        config.ceilings.fuel = Some(Fuel::Units(2000));
    })
    .await?;
    let limits = json!({
        "fuel": "unlimited", "timeout_ms": 3_600_001, "memory_bytes": (1 << 30) + 1,
        "output_bytes": 17 << 20, "log_bytes": 5 << 20, "tables": 1_000_001, "resources": 10_001,
    });
    let answer = post(&host, "/v1/jobs", json!({ "plugin": "p", "limits": limits })).await?;
    assert_json_snapshot!(answer.problem(422)?["errors"], @r#"
    [
      {
        "field": "limits.fuel",
        "message": "fuel limit unlimited (--fuel) exceeds the operator's maximum 2000, which `ceilings.fuel` in the host's configuration sets"
      },
      {
        "field": "limits.timeout_ms",
        "message": "time limit 3600001 ms (--timeout) exceeds the operator's maximum 3600000 ms, which `ceilings.timeout_ms` in the host's configuration sets"
      },
      {
        "field": "limits.memory_bytes",
        "message": "memory limit 1073741825 bytes (--memory) exceeds the operator's maximum 1 GiB, which `ceilings.memory_bytes` in the host's configuration sets"
      },
      {
        "field": "limits.output_bytes",
        "message": "output limit 17 MiB (--output-limit) exceeds the operator's maximum 16 MiB, which `ceilings.output_bytes` in the host's configuration sets"
      },
      {
        "field": "limits.log_bytes",
        "message": "log limit 5 MiB (--log-limit) exceeds the operator's maximum 1 MiB, which `ceilings.log_bytes` in the host's configuration sets"
      },
      {
        "field": "limits.tables",
        "message": "tables limit 1000001 elements (--tables) exceeds the operator's maximum 1000000 elements, which `ceilings.tables` in the host's configuration sets"
      },
      {
        "field": "limits.resources",
        "message": "resources limit 10001 handles (--resources) exceeds the operator's maximum 10000 handles, which `ceilings.resources` in the host's configuration sets"
      }
    ]
    "#);
    Ok(())
}

async fn a_payload_over_its_limit_is_refused() -> anyhow::Result<()> {
    let fixture = Fixture::configured(|config| config.payload_bytes = 1000).await?;
    let with = |length: usize| json!({ "plugin": "p", "payload": "x".repeat(length - 2) });
    post(&fixture.host, "/v1/jobs", with(1000)).await?.ok(202)?;
    assert_json_snapshot!(post(&fixture.host, "/v1/jobs", with(1001)).await?.problem(413)?, @r#"
    {
      "code": "too_large",
      "detail": "the payload is larger than the limit of 1000 bytes; the operator raises the limit with `payload_bytes`",
      "limit_bytes": 1000
    }
    "#);
    let base64 = json!({ "plugin": "p", "payload_base64": "AAAA".repeat(334) });
    assert_eq!(post(&fixture.host, "/v1/jobs", base64).await?.code(413)?, "too_large");
    // The size of the whole request is bounded too, whatever it contains.
    let spaces = format!("{}{{}}", " ".repeat(100 << 10));
    assert_eq!(post(&fixture.host, "/v1/jobs", spaces).await?.code(413)?, "too_large");
    Ok(())
}

async fn a_request_with_many_unknown_fields_gets_a_short_problem() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let unknown: Vec<String> = (0..50_000).map(|n| format!("\"{n}\":0")).collect();
    let many = format!("{{{}}}", unknown.join(","));
    let repeated = format!("{{{}}}", vec!["\"a\":0"; 100_000].join(","));
    let variables = format!("{{\"plugin\":\"p\",\"env\":{}}}", many.replace(":0", ":\"\""));
    let long = format!("{{\"priority\":\"{}\",\"plugin\":\"p\"}}", "x".repeat(500_000));
    for body in [many, repeated, variables, long] {
        let answer = post(&host, "/v1/jobs", &body).await?;
        ensure!(answer.status.is_client_error(), "{}", answer.status);
        ensure!(answer.body.len() < 20_000, "{} bytes of answer", answer.body.len());
        // The bound applies to batches too.
        let answer = post(&host, "/v1/jobs/batch", &body).await?.ok(200)?;
        ensure!(answer.to_string().len() < 20_000, "{} bytes of answer", answer.to_string().len());
    }
    // The head of a request may have 64 KiB.
    for parameters in [
        (0..7_000).map(|n| format!("a{n}")).collect::<Vec<_>>(),
        vec!["a".to_owned(); 25_000],
        (0..5_000).map(|n| format!("env.{n}")).collect(),
        (0..5_000).map(|n| format!("a{n}.b")).collect(),
        vec!["arg=+%00".to_owned(); 6_000],
    ] {
        let path = format!("/v1/jobs?plugin=p&{}", parameters.join("&"));
        let answer = post(&host, &path, "").await?;
        ensure!(answer.status == 422 && answer.body.len() < 2_000, "{answer:?}");
        let answer = get(&host, &path).await?;
        ensure!(answer.status == 400 && answer.body.len() < 1_000, "{answer:?}");
    }
    Ok(())
}
