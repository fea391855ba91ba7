//! Which jobs a command is about.

use reqwest::Method;
use serde_json::Value;

use crate::cli::client::Client;

/// The longest page that a host answers with.
const PAGE: usize = 200;

/// All that match every given field.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// Only in this state: scheduled, available, retryable, running, completed, discarded, cancelled
    /// [default: any].
    #[arg(long)]
    pub(super) state: Option<String>,
    /// Only of this plugin, or `name@version` [default: any].
    #[arg(long)]
    plugin: Option<String>,
    /// Only in this queue [default: any].
    #[arg(long)]
    queue: Option<String>,
    /// Only with this label [default: any].
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

    /// The first `most` jobs that match and that `wanted` takes, newest first, a page at a time.
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
            let size = (most - jobs.len()).min(PAGE).to_string();
            let place = [("limit", Some(size)), ("cursor", cursor)];
            let mut page = client.json(request.query(&place)).await?;
            if let Value::Array(found) = page["jobs"].take() {
                jobs.extend(found.into_iter().filter(&wanted));
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(jobs)
    }
}
