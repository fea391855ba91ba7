//! What a guest leaves in a process at its end, and what comes of the process.

use std::future::pending;

use anyhow::ensure;
use jobwright_tests::fetch::Fetch;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::runners::Isolated;

pub(super) fn trials() -> Vec<Trial> {
    tests![a_process_whose_guest_left_a_request_behind_has_the_next_attempt_too]
}

async fn a_process_whose_guest_left_a_request_behind_has_the_next_attempt_too() -> anyhow::Result<()>
{
    let host = Isolated::start().await?;
    let server = Server::serving(|stream, _| async move {
        // It never answers.
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
