//! The filter of commands for several jobs.

use std::collections::BTreeMap;

use jobwright_core::job::Phase;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::json::text;

/// The maximum page size of a host.
const PAGE: usize = 200;

/// Matches jobs by all of the given fields.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// Only jobs in this state: scheduled, available, retryable, running, completed, discarded,
    /// cancelled, expired [default: any].
    #[arg(long)]
    pub(super) state: Option<String>,
    /// Only jobs of this plugin, or of this `name@version` [default: any].
    #[arg(long)]
    plugin: Option<String>,
    /// Only jobs in this queue [default: any].
    #[arg(long)]
    queue: Option<String>,
    /// Only jobs with this tag [default: any].
    #[arg(long)]
    tag: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let fields = [
            ("state", &self.state),
            ("plugin", &self.plugin),
            ("queue", &self.queue),
            ("tag", &self.tag),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// The first `most` jobs that match and for which `wanted` is true, newest first.
    pub(super) async fn jobs(
        &self,
        client: &Client,
        most: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        let mut jobs: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while jobs.len() < most {
            let request = client.request(Method::GET, &["jobs"]).query(&self.query());
            // Full pages even for a few jobs, because `wanted` may reject most of a page.
            let place = [("limit", Some(PAGE.to_string())), ("cursor", cursor)];
            let mut page = client.json(request.query(&place)).await?;
            if let Value::Array(found) = page["jobs"].take() {
                jobs.extend(found.into_iter().filter(&wanted));
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        jobs.truncate(most);
        Ok(jobs)
    }

    /// The first `most` unfinished jobs that match, newest first. Does not read finalized jobs, which can
    /// be many more.
    pub(super) async fn unfinished(
        &self,
        client: &Client,
        most: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for phase in Phase::ALL.iter().filter(|phase| !phase.is_finalized()) {
            let of_state = Self { state: Some(text(&json!(phase))), ..self.clone() };
            let jobs = of_state.jobs(client, most, |_| true).await?;
            // A job that changes its state meanwhile can be found twice.
            found.extend(jobs.into_iter().map(|job| (text(&job["id"]), job)));
        }
        // Ids are ordered by creation time.
        Ok(found.into_values().rev().take(most).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::{Query, State};
    use axum::routing::get;
    use axum::{Json, Router};

    use super::*;

    type Asked = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

    /// Returns a page of the jobs 9 to 0, of which the even ones are finalized.
    async fn page(
        State(asked): State<Asked>,
        Query(query): Query<BTreeMap<String, String>>,
    ) -> Json<Value> {
        let size = query["limit"].parse::<usize>().expect("a number").min(4);
        let before = query.get("cursor").map_or(10, |cursor| cursor.parse().expect("a number"));
        let finalized = |number: usize| number.is_multiple_of(2).then_some("2026-01-01T00:00:00Z");
        let jobs: Vec<Value> = (0..before)
            .rev()
            .take(size)
            .map(|number| json!({ "id": number.to_string(), "finalized_at": finalized(number) }))
            .collect();
        let next = before.checked_sub(size).filter(|next| *next > 0);
        asked.lock().expect("no panic").push(query);
        Json(json!({ "jobs": jobs, "next_cursor": next.map(|next| next.to_string()) }))
    }

    /// A client of such a host, and the queries that the host received.
    async fn host() -> (Client, Asked) {
        let asked = Asked::default();
        let router = Router::new().route("/v1/jobs", get(page)).with_state(asked.clone());
        (Client::of(router).await, asked)
    }

    fn ids(jobs: &[Value]) -> Vec<String> {
        jobs.iter().map(|job| text(&job["id"])).collect()
    }

    #[tokio::test]
    async fn jobs_are_read_in_full_pages() {
        let (client, asked) = host().await;
        let unfinished = |job: &Value| job["finalized_at"].is_null();
        let jobs = Filter::default().jobs(&client, 3, unfinished).await.expect("jobs");
        assert_eq!(ids(&jobs), ["9", "7", "5"]);
        let asked = asked.lock().expect("no panic");
        assert!(asked.iter().all(|query| query["limit"] == PAGE.to_string()), "{asked:?}");
        assert_eq!(asked.len(), 2);
    }

    #[tokio::test]
    async fn unfinished_jobs_are_read_by_state_and_listed_once() {
        let (client, asked) = host().await;
        let jobs = Filter::default().unfinished(&client, 3).await.expect("jobs");
        assert_eq!(ids(&jobs), ["9", "8", "7"]);
        let asked = asked.lock().expect("no panic");
        let states: Vec<&str> = asked.iter().map(|query| query["state"].as_str()).collect();
        assert_eq!(states, ["scheduled", "retryable", "available", "running"]);
    }
}
