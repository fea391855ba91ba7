//! The shape of the tree: imports go one way, and files and functions are short.

mod edges;
mod functions;
mod imports;
mod sizes;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    tests![
        no_files_import_from_each_other_in_circles,
        no_parts_of_the_host_import_from_each_other_in_circles,
        each_import_between_parts_of_the_host_has_a_reason,
        no_crate_has_files_that_are_longer_than_its_budget,
        no_function_is_longer_or_takes_more_than_its_budget,
    ]
}

/// The sources of the crates whose files import from each other in one direction. The others are small libraries
/// whose root has the types that the files share.
const LAYERED: [&str; 2] = ["host/core/src", "host/src"];

/// The sources of all crates.
const CRATES: [&str; 5] =
    ["host/core/src", "host/src", "guest-sdk/src", "guest-sdk/macros/src", "plugins/src"];

async fn no_files_import_from_each_other_in_circles() -> anyhow::Result<()> {
    for source in LAYERED {
        let circles = imports::circles(&imports::of_files(&root().join(source))?);
        ensure!(circles.is_empty(), "{source}: {circles:#?}");
    }
    Ok(())
}

async fn no_parts_of_the_host_import_from_each_other_in_circles() -> anyhow::Result<()> {
    let circles = imports::circles(&edges::of_host()?);
    ensure!(circles.is_empty(), "{circles:#?}");
    Ok(())
}

async fn each_import_between_parts_of_the_host_has_a_reason() -> anyhow::Result<()> {
    let faults = edges::faults(&edges::of_host()?);
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

async fn no_crate_has_files_that_are_longer_than_its_budget() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for source in CRATES {
        faults.extend(sizes::faults(source)?);
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

async fn no_function_is_longer_or_takes_more_than_its_budget() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for source in CRATES {
        for file in rust_files(&root().join(source))? {
            let shown = file.strip_prefix(root())?.display().to_string();
            let found = functions::faults(&std::fs::read_to_string(&file)?)?;
            faults.extend(found.into_iter().map(|fault| format!("{shown}: {fault}")));
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
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
