//! The shape of the tree: imports go one way, and no file is longer than one reads in one sitting.

mod circles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    tests![
        parts_of_the_host_use_only_what_they_may,
        no_files_import_from_each_other_in_circles,
        no_file_is_longer_than_its_budget,
    ]
}

/// Which parts of the host each part may use. `lib.rs` and `main.rs` put them together.
const EDGES: &[(&str, &[&str])] = &[
    ("api", &["controls", "detached", "events", "intake", "privacy", "shares", "telemetry"]),
    (
        "cli",
        &[
            "api",
            "clock",
            "config",
            "privacy",
            "registry",
            "runtime",
            "services",
            "telemetry",
            "tls",
        ],
    ),
    ("clock", &[]),
    ("config", &[]),
    ("controls", &[]),
    ("data_dir", &["privacy"]),
    ("detached", &[]),
    ("disk", &[]),
    ("dispatch", &["controls", "events", "telemetry"]),
    ("events", &["shares"]),
    ("intake", &["controls", "detached", "disk", "events"]),
    ("privacy", &[]),
    ("registry", &["clock", "data_dir", "disk", "privacy"]),
    ("runtime", &["clock", "disk", "registry", "shares"]),
    ("services", &["data_dir", "disk", "privacy", "shares", "sqlite", "telemetry", "tls"]),
    ("shares", &[]),
    ("sqlite", &["clock", "disk"]),
    ("store", &["data_dir", "disk", "sqlite", "telemetry"]),
    ("telemetry", &["clock"]),
    ("tls", &[]),
];

/// No file of a reader's tree is longer, in lines; tests are apart.
const LONGEST: usize = 500;

/// Half of the files are at most this long.
const MEDIAN: usize = 140;

async fn parts_of_the_host_use_only_what_they_may() -> anyhow::Result<()> {
    let source = root().join("host/src");
    let mut wrong = BTreeSet::new();
    for file in rust_files(&source)? {
        let part = file.strip_prefix(&source)?.components().next().context("a file has a name")?;
        let part = part.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if matches!(part.as_str(), "lib" | "main") {
            continue;
        }
        let (_, may) =
            EDGES.iter().find(|(name, _)| *name == part).with_context(|| part.clone())?;
        let text = std::fs::read_to_string(&file)?;
        for used in text.split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            // What is no part is a function or a type of `lib.rs`.
            let is_part = EDGES.iter().any(|(name, _)| *name == used);
            if is_part && used != part && !may.contains(&used.as_str()) {
                wrong.insert(format!("{part} uses {used}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

/// The parts of the host whose files still import from each other in circles.
const CIRCLES_LEFT: &[&str] = &[];

async fn no_files_import_from_each_other_in_circles() -> anyhow::Result<()> {
    for source in ["host/core/src", "host/src"] {
        let mut circles = circles::circles(&root().join(source))?;
        circles.retain(|module, _| {
            let part = module.split("::").next().unwrap_or_default();
            !CIRCLES_LEFT.contains(&part)
        });
        ensure!(circles.is_empty(), "{source}: {circles:#?}");
    }
    Ok(())
}

async fn no_file_is_longer_than_its_budget() -> anyhow::Result<()> {
    let mut lengths = Vec::new();
    for folder in ["host/core/src", "host/src", "host/benches", "guest-sdk/src", "plugins/src"] {
        for file in rust_files(&root().join(folder))? {
            if file.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let length = std::fs::read_to_string(&file)?.lines().count();
            ensure!(length <= LONGEST, "{} has {length} lines", file.display());
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    ensure!(median <= MEDIAN, "the median file has {median} lines");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}
