//! Behaviour of `process-order` that its samples do not cover.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};

use super::fixture::{Fixture, Of};

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Of> {
    let name = "a_bad_order_is_refused_for_good_and_all_its_faults_are_named";
    vec![("process-order".to_owned(), fixture.trial(name, bad_order))]
}

async fn bad_order(fixture: Arc<Fixture>) -> anyhow::Result<()> {
    let sample = fixture.plugins.get("process-order").sample("order");
    let mut order: Value = serde_json::from_slice(&std::fs::read(sample.payload)?)?;
    order["lines"][0]["quantity"] = 0.into();
    order["customer"]["email"] = "nobody".into();
    fixture.push("process-order").await?;
    let host = fixture.host().await?;
    // With the default number of attempts, as the failure must be permanent.
    let job = host.run(json!({ "plugin": "process-order", "payload": order })).await?;
    ensure!(job["state"] == "discarded" && job["attempt"] == 1, "{job}");
    ensure!(job["attempts"][0]["error"]["code"] == "exit_code", "{job}");
    let log = host.log(job["id"].as_str().unwrap_or_default()).await?;
    ensure!(log.contains("lines[0].quantity") && log.contains("`nobody` is not"), "{log}");
    Ok(())
}
