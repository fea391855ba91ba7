//! Requests that a guest leaves in flight when it ends, and the process that it ran in.

use std::future::pending;

use anyhow::ensure;
use jobwright_tests::fetch::Fetch;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::runners::Isolated;

pub(super) fn trials() -> Vec<Trial> {
    tests![a_process_with_an_abandoned_request_runs_the_next_attempt]
}

async fn a_process_with_an_abandoned_request_runs_the_next_attempt() -> anyhow::Result<()> {
    let host = Isolated::start().await?;
    let server = Server::serving(|stream, _| async move {
        // The server never responds.
        let _open = stream;
        pending().await
    })
    .await?;
    let authority = server.address().to_string();
    let origin = format!("http://{authority}");
    let fetch = Fetch { authority, path: "/".to_owned(), leaves: true, ..Fetch::default() };
    host.push_wasm("leaves", fetch.command()?).await?;
    host.grant("leaves", json!({ "http": [{ "origin": origin }] })).await?;
    let first = host.runners()?;
    ensure!(first.len() == 1, "{first:?}");
    for _ in 0..3 {
        let job = host.finalized(&host.submit(json!({ "plugin": "leaves" })).await?).await?;
        assert_eq!(job["state"], "completed", "{job}");
        assert_eq!(host.runners()?, first);
    }
    Ok(())
}
