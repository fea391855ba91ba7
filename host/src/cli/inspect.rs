//! `jobwright plugin inspect`: checks and describes a plugin without a host.

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
        // The message of a refused upload.
        let refused = |unprepared| match unprepared {
            Unprepared::Unusable(unusable) => {
                Fault::Data.failure(format!("{} ({})", unusable.message, unusable.code)).into()
            }
            Unprepared::NotNow(reason) => anyhow::anyhow!(reason),
        };
        let inspection = checked.map_err(refused)?;
        let notes = notes(&inspection.imports, size_bytes);
        let found = Report { digest, size_bytes, inspection, notes };
        terminal.result(|| found.json(), |out| found.write(out))?;
        Ok(Ending::Done)
    }
}

struct Report {
    digest: Digest,
    size_bytes: u64,
    inspection: Inspection,
    notes: Vec<String>,
}

impl Report {
    /// The fields have the names of those of a version in the HTTP interface.
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

/// Writes a name and its values, one per line; nothing without values.
fn section(out: &mut dyn Write, name: &str, values: &[String]) -> io::Result<()> {
    for (place, value) in values.iter().enumerate() {
        let name = if place == 0 { name } else { "" };
        writeln!(out, "{name:<13} {}", printable(value))?;
    }
    // An inspection has at most `MAX_NAMES` of each.
    if values.len() >= MAX_NAMES {
        writeln!(out, "{:<13} …", "")?;
    }
    Ok(())
}

/// Reasons for which the plugin may not work on a host, although it can be uploaded.
fn notes(imports: &[String], size_bytes: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if imports.iter().any(|import| import.starts_with("wasi:sockets/")) {
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
    fn imports_that_cannot_be_granted_are_noted() {
        let of = |import: &str| notes(&[import.to_owned()], 1).join("; ");
        for granted in ["wasi:http/outgoing-handler@0.2.6", "extism:host/env.http_request"] {
            assert_eq!(of(granted), "", "it is named among the grants");
        }
        assert!(of("wasi:sockets/tcp@0.2.0").contains("sockets"));
        assert_eq!(of("wasi:http/types@0.2.0"), "");
        assert!(notes(&[], 33 << 20)[0].contains("32 MiB"));
    }
}
