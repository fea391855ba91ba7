//! `jobwright new`: creates a project from a template.

mod template;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

use self::template::{EXPECTED, Language, NAME, PAYLOAD, README, Template};
use super::exit::{Ending, Fault};
use super::terminal::Terminal;

/// The maximum length of a name, as for plugins.
const MAX_NAME_BYTES: usize = 64;

/// Names of folders in cargo's target directory, which a program cannot have.
const NOT_IN_RUST: [&str; 4] = ["build", "deps", "examples", "incremental"];

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The name of the plugin and of the new folder: letters a to z, digits and hyphens.
    #[arg(value_parser = name)]
    name: String,
    /// The programming language.
    #[arg(long)]
    lang: Language,
}

impl New {
    pub(super) fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        let Self { name, lang } = self;
        if lang == Language::Rust && NOT_IN_RUST.contains(&name.as_str()) {
            let message = format!("cargo cannot build a program called `{name}`: use another name");
            return Err(Fault::Usage.failure(message).into());
        }
        let project = Project { name, template: lang.template() };
        let files = project.write(Path::new(""))?;
        let (name, install) = (&project.name, project.template.install);
        let (build, run) = (project.fill(project.template.build), project.run());
        terminal.result(
            || json!({ "folder": name, "files": files, "install": install, "build": build, "run": run }),
            |out| {
                writeln!(out, "created {name}, in {}; next:\n", project.template.language)?;
                writeln!(out, "    cd {name}\n    {install}  # once, for the compiler")?;
                writeln!(out, "    {build}\n    {run}")
            },
        )?;
        Ok(Ending::Done)
    }
}

/// Parses a name that is valid for a plugin, and for a file or package of every compiler.
fn name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(is_part)
        && text.len() <= MAX_NAME_BYTES
    {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "use a letter from a to z, followed by letters, digits and hyphens; {MAX_NAME_BYTES} \
             characters at most"
        ))
    }
}

/// An example of a grant.
const GRANTS: &str = r#"{"http": [{"origin": "https://api.example.com"}]}"#;

struct Project {
    name: String,
    template: &'static Template,
}

impl Project {
    /// Writes the files into a new or empty folder in `parent`. Returns their paths in it.
    fn write(&self, parent: &Path) -> anyhow::Result<Vec<&'static str>> {
        let folder = parent.join(&self.name);
        let shown = folder.display();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create the folder {shown}"))?;
        let mut there = fs::read_dir(&folder).with_context(|| format!("cannot read {shown}"))?;
        if there.next().is_some() {
            bail!("the folder {shown} is not empty: choose another name, or empty it first");
        }
        let mut written = Vec::new();
        for (path, text) in self.files() {
            let file: PathBuf = folder.join(path);
            file.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&file, text))
                .with_context(|| format!("cannot write {}", file.display()))?;
            written.push(path);
        }
        Ok(written)
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, String)> {
        let own = self.template.files.iter().map(|(path, text)| (*path, self.fill(text)));
        own.chain([
            ("payload.txt", PAYLOAD.to_owned()),
            ("expected.txt", EXPECTED.to_owned()),
            ("README.md", self.readme()),
        ])
    }

    fn readme(&self) -> String {
        let Template { language, install, build, wasm, ending, http, .. } = self.template;
        let run = self.run();
        let readme = README
            .replace("LANGUAGE", language)
            .replace("INSTALL", &format!("    {install}"))
            .replace("BUILD", &format!("    {build}\n    {run}"))
            .replace("TEST", &format!("    {run} | diff expected.txt -"))
            .replace("GRANT", &format!("    {run} --grants '{GRANTS}'"))
            .replace("REQUESTS", http)
            .replace("ENDING", ending)
            .replace("WASM", wasm);
        self.fill(&readme)
    }

    /// The command that runs the plugin on the sample payload.
    fn run(&self) -> String {
        self.fill(&format!("jobwright run {} --payload payload.txt", self.template.wasm))
    }

    fn fill(&self, text: &str) -> String {
        text.replace(NAME, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn names_are_valid_for_every_compiler() {
        for good in ["a", "shout", "word-count-2", &"a".repeat(64)] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "2a", "A", "a b", "a/b", "..", "a.b", "ä", &"a".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        for language in Language::value_variants() {
            let project = Project { name: "shout".into(), template: language.template() };
            for (path, text) in project.files() {
                for left in
                    [NAME, "LANGUAGE", "INSTALL", "BUILD", "TEST", "REQUESTS", "GRANT", "ENDING"]
                {
                    assert!(!text.contains(left), "{language:?}: {left} in {path}");
                }
            }
        }
    }
}
