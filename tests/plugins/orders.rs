//! What the samples of `process-order` do not say.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};

use super::stage::{Of, Stage};

pub(super) fn trials(stage: &Arc<Stage>) -> Vec<Of> {
    let name = "a_bad_order_is_refused_for_good_and_all_its_faults_are_named";
    vec![("process-order".to_owned(), stage.trial(name, bad_order))]
}

async fn bad_order(stage: Arc<Stage>) -> anyhow::Result<()> {
    let sample = stage.plugins.get("process-order").sample("order");
    let mut order: Value = serde_json::from_slice(&std::fs::read(sample.payload)?)?;
    order["lines"][0]["quantity"] = 0.into();
    order["customer"]["email"] = "nobody".into();
    stage.push("process-order").await?;
    let host = stage.host().await?;
    // As often as a job may be tried, unless told that it is of no use.
    let job = host.run(json!({ "plugin": "process-order", "payload": order })).await?;
    ensure!(job["state"] == "discarded" && job["attempt"] == 1, "{job}");
    ensure!(job["attempts"][0]["error"]["code"] == "exit_code", "{job}");
    let log = host.log(job["id"].as_str().unwrap_or_default()).await?;
    ensure!(log.contains("lines[0].quantity") && log.contains("`nobody` is not"), "{log}");
    Ok(())
}
