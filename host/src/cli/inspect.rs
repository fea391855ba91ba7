//! `jobwright plugin inspect`: what a plugin is and needs, before it is uploaded anywhere.

use std::io::{self, Write};
use std::path::PathBuf;

use jobwright_core::limits::show_bytes;
use jobwright_core::plugin::{Digest, Inspection, MAX_NAMES};
use jobwright_core::runtime::Unprepared;
use serde_json::{Value, json};

use super::exit::{Ending, Fault};
use super::options::StackOptions;
use super::sandbox::{self, Sandbox};
use super::terminal::{Terminal, printable};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The WebAssembly binary.
    file: PathBuf,
}

impl Inspect {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        let wasm = sandbox::read(&self.file).await?;
        let (digest, size_bytes) = (Digest::of(&wasm), wasm.len() as u64);
        let progress = terminal.progress(format!("compiling {}", self.file.display()));
        let checked = Sandbox::open(StackOptions::default())?.check(wasm).await;
        progress.finish_and_clear();
        // In the words of the answer to an upload.
        let refused = |unprepared| match unprepared {
            Unprepared::Unusable(unusable) => {
                Fault::Data.says(format!("{} ({})", unusable.message, unusable.code)).into()
            }
            Unprepared::NotNow(reason) => anyhow::anyhow!(reason),
        };
        let inspection = checked.map_err(refused)?;
        let notes = notes(&inspection.imports, size_bytes);
        let found = Found { digest, size_bytes, inspection, notes };
        terminal.result(|| found.json(), |out| found.write(out))?;
        Ok(Ending::Done)
    }
}

struct Found {
    digest: Digest,
    size_bytes: u64,
    inspection: Inspection,
    notes: Vec<String>,
}

impl Found {
    /// With the names that a host's answer about a version has.
    fn json(&self) -> Value {
        let Inspection { abi, imports, exports, entrypoints, minimum_memory_bytes } =
            &self.inspection;
        json!({
            "abi": abi,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "imports": imports,
            "exports": exports,
            "entrypoints": entrypoints,
            "grants": self.inspection.grants(),
            "minimum_memory_bytes": minimum_memory_bytes,
            "notes": self.notes,
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Inspection { abi, imports, exports, entrypoints, minimum_memory_bytes } =
            &self.inspection;
        section(out, "abi", &[abi.to_string()])?;
        section(out, "size", &[show_bytes(self.size_bytes)])?;
        section(out, "digest", &[self.digest.to_string()])?;
        section(out, "memory", &[format!("{} at the start", show_bytes(*minimum_memory_bytes))])?;
        section(out, "entry points", entrypoints)?;
        section(out, "imports", imports)?;
        section(out, "exports", exports)?;
        let grants: Vec<_> = self.inspection.grants().iter().map(ToString::to_string).collect();
        section(out, "grants", &grants)?;
        section(out, "note", &self.notes)
    }
}

/// A name and its values, a line each; nothing if there are none.
fn section(out: &mut dyn Write, name: &str, values: &[String]) -> io::Result<()> {
    for (place, value) in values.iter().enumerate() {
        let name = if place == 0 { name } else { "" };
        writeln!(out, "{name:<13} {}", printable(value))?;
    }
    // More than that are not kept of either.
    if values.len() >= MAX_NAMES {
        writeln!(out, "{:<13} …", "")?;
    }
    Ok(())
}

/// What the plugin may miss where it runs, although nothing forbids to upload it.
fn notes(imports: &[String], size_bytes: u64) -> Vec<String> {
    let asks_for = |names: &[&str]| {
        imports.iter().any(|import| names.iter().any(|name| import.starts_with(name)))
    };
    let mut notes = Vec::new();
    if asks_for(&["wasi:sockets/"]) {
        notes.push("imports wasi:sockets, which cannot be granted to plugins".to_owned());
    }
    let most = Config::default().plugin_bytes;
    if size_bytes > most {
        notes.push(format!(
            "is {} long; hosts accept at most {} by default: raise their setting `plugin_bytes`",
            show_bytes(size_bytes),
            show_bytes(most)
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::notes;

    #[test]
    fn what_no_plugin_is_granted_is_noted() {
        let of = |import: &str| notes(&[import.to_owned()], 1).join("; ");
        for granted in ["wasi:http/outgoing-handler@0.2.6", "extism:host/env.http_request"] {
            assert_eq!(of(granted), "", "it is named among the grants");
        }
        assert!(of("wasi:sockets/tcp@0.2.0").contains("sockets"));
        assert_eq!(of("wasi:http/types@0.2.0"), "");
        assert!(notes(&[], 33 << 20)[0].contains("32 MiB"));
    }
}
