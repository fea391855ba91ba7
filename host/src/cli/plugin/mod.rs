//! `jobwright plugin …`

mod set;

use std::path::PathBuf;

use anyhow::Context as _;
use jobwright_core::limits::show_bytes;
use jobwright_core::plugin::{PluginRef, Selector};
use reqwest::Method;
use serde_json::{Value, json};

use self::set::Set;
use super::client::Client;
use super::disable::{self, DisableOptions};
use super::exit::{Ending, Fault};
use super::inspect::Inspect;
use super::json::text;
use super::options::of_setting;
use super::sandbox;
use super::table::table;
use super::terminal::{Terminal, printable};

#[derive(Debug, clap::Subcommand)]
pub(super) enum PluginCommand {
    /// Upload a plugin.
    Push {
        /// The WebAssembly binary.
        file: PathBuf,
        /// The name of the plugin [default: the file's name].
        #[arg(long)]
        name: Option<String>,
        /// The version, such as 1.2.0 [default: made from its digest].
        #[arg(long)]
        version: Option<String>,
    },
    /// Check a plugin without a host, and show its kind, imports, exports and the grants it can use.
    Inspect(Inspect),
    /// List the plugins.
    List,
    /// Show a plugin and its versions.
    Show {
        /// The name of the plugin.
        name: String,
    },
    /// Change the settings of a plugin: grants, limits and retries of its jobs.
    #[command(mut_args = of_setting)]
    Set(Box<Set>),
    /// Remove a plugin, or one version of it, that no unfinished job needs.
    Rm {
        /// `name`, or `name@version`.
        plugin: PluginRef,
    },
    /// Disable a plugin, or one version: its jobs are stopped, and new ones are refused.
    Disable {
        /// `name`, or `name@version`; `name@sha256:…` disables these bytes, for every plugin and tenant.
        plugin: PluginRef,
        #[command(flatten)]
        how: DisableOptions,
    },
    /// Enable a disabled plugin or version: its held jobs continue.
    Enable {
        /// The plugin, named as it was when it was disabled.
        plugin: PluginRef,
    },
}

impl PluginCommand {
    pub(super) async fn execute(
        self,
        client: impl FnOnce() -> anyhow::Result<Client>,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::Inspect(inspect) => inspect.execute(terminal).await,
            Self::Push { file, name, version } => {
                push(&client()?, terminal, file, name, version).await
            }
            Self::List => list(&client()?, terminal).await,
            Self::Show { name } => show(&client()?, terminal, &name).await,
            Self::Set(set) => set.execute(&client()?, terminal).await,
            Self::Rm { plugin } => remove(&client()?, terminal, plugin).await,
            Self::Disable { plugin, how } => {
                let (path, name) = (disable_path(&plugin)?, plugin.to_string());
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                disable::disable(&client()?, terminal, (&path, &name), how).await
            }
            Self::Enable { plugin } => {
                let (path, name) = (disable_path(&plugin)?, plugin.to_string());
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                disable::enable(&client()?, terminal, (&path, &name)).await
            }
        }
    }
}

async fn push(
    client: &Client,
    terminal: &Terminal,
    file: PathBuf,
    name: Option<String>,
    version: Option<String>,
) -> anyhow::Result<Ending> {
    let stem = || file.file_stem().map(|stem| stem.to_string_lossy().replace('_', "-"));
    let name = name.or_else(stem).context("the file has no name: name the plugin with --name")?;
    let wasm = sandbox::read(&file).await?;
    let progress = terminal.progress(format!("uploading and compiling {name}"));
    let mut request = client.request(Method::PUT, &["plugins", &name]).body(wasm);
    if let Some(version) = version {
        request = request.query(&[("version", version)]);
    }
    let answer = client.json(request).await;
    progress.finish_and_clear();
    let version = answer?;
    terminal.result(
        || version.clone(),
        |out| {
            let text = |field: &str| printable(version[field].as_str().unwrap_or_default());
            writeln!(
                out,
                "{}@{}  {}  {}",
                text("name"),
                text("version"),
                text("abi"),
                text("digest")
            )
        },
    )?;
    Ok(Ending::Done)
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let mut plugins: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let request = client.request(Method::GET, &["plugins"]);
        let mut page = client.json(request.query(&cursor.map(|c| [("cursor", c)]))).await?;
        if let Value::Array(found) = page["plugins"].take() {
            plugins.extend(found);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    terminal.result(
        || plugins.clone().into(),
        |out| {
            let row = |plugin: &Value| {
                vec![
                    text(&plugin["name"]),
                    state(plugin).to_owned(),
                    text(&plugin["default_version"]),
                    versions(plugin),
                ]
            };
            let header = ["name", "state", "default", "versions"];
            writeln!(out, "{}", table(&header, plugins.iter().map(row)))
        },
    )?;
    Ok(Ending::Done)
}

async fn show(client: &Client, terminal: &Terminal, name: &str) -> anyhow::Result<Ending> {
    let plugin = client.json(client.request(Method::GET, &["plugins", name])).await?;
    terminal.result(
        || plugin.clone(),
        |out| {
            writeln!(out, "name      {}", printable(&text(&plugin["name"])))?;
            writeln!(out, "state     {}", state(&plugin))?;
            writeln!(out, "default   {}", printable(&text(&plugin["default_version"])))?;
            set::write(&plugin["settings"], out)?;
            writeln!(out)?;
            if let Some(latest) = plugin["lost_jobs"].get(0) {
                let id = printable(&text(&latest["id"]));
                writeln!(out, "suspect   its job {id} was lost with its host several times\n")?;
            }
            let row = |version: &Value| {
                vec![
                    text(&version["version"]),
                    state(version).to_owned(),
                    text(&version["abi"]),
                    show_bytes(version["size_bytes"].as_u64().unwrap_or_default()),
                    text(&version["created_at"]),
                    text(&version["digest"]),
                ]
            };
            let versions = plugin["versions"].as_array().into_iter().flatten().map(row);
            let header = ["version", "state", "abi", "size", "uploaded", "digest"];
            writeln!(out, "{}", table(&header, versions))
        },
    )?;
    Ok(Ending::Done)
}

/// The state of a plugin, version or tenant.
pub(super) fn state(of: &Value) -> &'static str {
    if of["disabled"] == true { "disabled" } else { "enabled" }
}

/// The number of versions of a plugin, and of those that are disabled themselves.
fn versions(plugin: &Value) -> String {
    let versions = plugin["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    match versions.iter().filter(|version| version["disabled"] == true).count() {
        0 => versions.len().to_string(),
        disabled => format!("{}, {disabled} disabled", versions.len()),
    }
}

/// The path of what a reference disables.
fn disable_path(plugin: &PluginRef) -> anyhow::Result<Vec<String>> {
    let name = plugin.name.to_string();
    match &plugin.selector {
        Selector::Default => Ok(vec!["plugins".to_owned(), name]),
        Selector::Exact(version) => {
            Ok(vec!["plugins".to_owned(), name, "versions".to_owned(), version.to_string()])
        }
        Selector::Digest(digest) => Ok(vec!["digests".to_owned(), digest.to_string()]),
        Selector::Highest { .. } => Err(ambiguous(plugin)),
    }
}

fn ambiguous(plugin: &PluginRef) -> anyhow::Error {
    let message = format!("`{plugin}` can match several versions: use `name` or `name@1.2.0`");
    Fault::Usage.failure(message).into()
}

async fn remove(client: &Client, terminal: &Terminal, plugin: PluginRef) -> anyhow::Result<Ending> {
    let name = plugin.name.as_str();
    let request = match &plugin.selector {
        Selector::Default => client.request(Method::DELETE, &["plugins", name]),
        Selector::Exact(version) => {
            let version = version.to_string();
            client.request(Method::DELETE, &["plugins", name, "versions", &version])
        }
        _ => return Err(ambiguous(&plugin)),
    };
    client.send(request).await?;
    terminal.result(
        || json!({ "removed": plugin.to_string() }),
        |out| writeln!(out, "removed {plugin}"),
    )?;
    Ok(Ending::Done)
}
