//! `jobwright plugin set`

use std::io::{self, Write};

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::exit::{Ending, Fault};
use crate::cli::exit_codes::ExitCodeOptions;
use crate::cli::json::text;
use crate::cli::options::{LimitOptions, read_json};
use crate::cli::retries::RetryOptions;
use crate::cli::terminal::{Terminal, printable};

/// The settings to change; others stay as they are.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Set {
    /// The name of the plugin.
    name: String,
    /// The grants to replace, as JSON: `{"http": [{"origin": "https://api.example.com"}]}`, a file
    /// that holds it, or `-` for stdin; `null` removes a grant, or all [default: as they are].
    #[arg(long, value_name = "JSON|FILE|-")]
    grants: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    retries: RetryOptions,
    #[command(flatten)]
    exit_codes: ExitCodeOptions,
    /// Whether attempts get the environment variables `JOBWRIGHT_…` [default: as it is].
    #[arg(long, value_name = "true|false")]
    inject_env: Option<bool>,
    /// The media type of the outputs, or `none` to detect it from their bytes [default: as it is].
    #[arg(long, value_name = "TYPE")]
    output_type: Option<String>,
    /// The version that the bare name means, or `none` for the latest upload [default: as it is].
    #[arg(long, value_name = "VERSION")]
    default_version: Option<String>,
    /// Any settings, as JSON with the names of the HTTP interface, a file or `-` for stdin; `null`
    /// unsets. The other flags override it [default: as they are].
    #[arg(long, value_name = "JSON|FILE|-")]
    settings: Option<String>,
}

impl Set {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let change = self.change()?;
        let request = client.request(Method::PATCH, &["plugins", &self.name]).json(&change);
        let plugin = client.json(request).await?;
        if !change["grants"].is_null() {
            warn(terminal, &plugin)?;
        }
        terminal.result(
            || plugin.clone(),
            |out| {
                writeln!(out, "set {}:", printable(&self.name))?;
                write(&plugin["settings"], out)
            },
        )?;
        Ok(Ending::Done)
    }

    /// The settings to change (RFC 7396).
    fn change(&self) -> anyhow::Result<Value> {
        let mut change = match &self.settings {
            Some(given) => read_json(given, "the settings")?,
            None => json!({}),
        };
        let Some(members) = change.as_object_mut() else {
            return Err(Fault::Data.failure("the settings are not a JSON object").into());
        };
        if let Some(given) = &self.grants {
            members.insert("grants".to_owned(), read_json(given, "the grants")?);
        }
        let limits = self.limits.given();
        if !limits.is_empty() {
            members.insert("limits".to_owned(), limits.into());
        }
        members.extend(self.retries.settings()?);
        put(members, "exit_codes", self.exit_codes.given()?);
        put(members, "inject_env", self.inject_env.map(Value::from));
        put(members, "output_type", self.output_type.as_deref().map(unless_none));
        put(members, "default_version", self.default_version.as_deref().map(unless_none));
        if members.is_empty() {
            let message = "nothing to change: give --grants, a limit such as --memory, --retry-on, --backoff, \
                           --exit-codes, --inject-env, --output-type, --default-version or --settings";
            return Err(Fault::Usage.failure(message).into());
        }
        Ok(change)
    }
}

fn put(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    members.extend(value.map(|value| (name.to_owned(), value)));
}

fn unless_none(given: &str) -> Value {
    if given == "none" { Value::Null } else { given.into() }
}

/// Writes settings, one per line.
pub(super) fn write(settings: &Value, out: &mut dyn Write) -> io::Result<()> {
    let none = Map::new();
    for (name, value) in settings.as_object().unwrap_or(&none) {
        if *value != json!({}) {
            writeln!(out, "{name:<15} {}", printable(&text(value)))?;
        }
    }
    Ok(())
}

/// Prints a warning for each grant that the default version cannot use.
fn warn(terminal: &Terminal, plugin: &Value) -> io::Result<()> {
    for warning in warnings(plugin) {
        if terminal.is_json() {
            writeln!(io::stderr(), "{}", json!({ "warning": warning }))?;
        } else {
            writeln!(io::stderr(), "warning: {}", printable(&warning))?;
        }
    }
    Ok(())
}

/// Grants that need an import: the name in the settings, the name in the `grants` of a version, and the
/// imports that use it.
const IMPORTED: [(&str, &str, &str); 3] = [
    ("http", "http", "wasi:http/outgoing-handler, Extism's http_request and jobwright.http_send"),
    ("key_value", "key-value", "wasi:keyvalue and jobwright.value_get, value_set and the like"),
    ("config", "config", "wasi:config and jobwright.config_get"),
];

fn warnings(plugin: &Value) -> Vec<String> {
    let versions = plugin["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let default = versions.iter().find(|v| v["version"] == plugin["default_version"]);
    let Some(version) = default else { return vec![] };
    let grants = &plugin["settings"]["grants"];
    let can_use = |name: &str| {
        version["grants"].as_array().is_some_and(|asked| asked.iter().any(|it| *it == name))
    };
    let abi = text(&version["abi"]);
    let is_config = |name: &str| name == "config" && abi == "extism";
    let useless = IMPORTED.iter().filter(|(setting, name, _)| {
        !grants[*setting].is_null() && !can_use(name) && !is_config(setting)
    });
    let name = format!("{}@{}", text(&plugin["name"]), text(&version["version"]));
    let warning = |(setting, _, imports): &(&str, &str, &str)| {
        format!("{name} ({abi}) cannot use the grant `{setting}`: it imports none of {imports}")
    };
    let mut warnings: Vec<String> = useless.map(warning).collect();
    if !grants["secrets"].is_null() && grants["http"].is_null() {
        warnings.push(format!(
            "{name} cannot use its secrets: they are sent in HTTP requests only, and it has no grant `http`"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(abi: &str, asked: Value, grants: Value) -> Value {
        json!({
            "name": "p", "default_version": "1.0.0", "settings": { "grants": grants },
            "versions": [{ "version": "1.0.0", "abi": abi, "grants": asked }],
        })
    }

    #[test]
    fn a_grant_that_a_plugin_cannot_use_causes_a_warning() {
        let all = json!({ "http": [1], "key_value": { "bytes": 1 }, "config": { "a": "b" } });
        let found = |abi, asked| warnings(&plugin(abi, asked, all.clone())).len();
        assert_eq!(found("wasi-command-p1", json!([])), 3);
        assert_eq!(found("wasi-http-p2", json!(["http", "config"])), 1);
        assert_eq!(found("wasi-http-p2", json!(["http", "key-value", "config"])), 0);
        assert_eq!(found("extism", json!(["http", "key-value"])), 0, "its own configuration");
        let secrets = json!({ "secrets": ["KEY"] });
        assert_eq!(warnings(&plugin("wasi-http-p2", json!(["http"]), secrets)).len(), 1);
        assert_eq!(warnings(&plugin("wasi-command-p1", json!([]), json!({ "env": {} }))).len(), 0);
    }
}
