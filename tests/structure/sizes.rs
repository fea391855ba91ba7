//! The lengths of files, in lines.

use std::path::Path;

use super::{root, rust_files};

/// The maximum length of any file.
const LONGEST: usize = 500;

/// The maximum length of nine files in ten, unit tests that are apart not counted.
const P90: usize = 350;

/// The maximum length of half of the files, counted in the same way.
const MEDIAN: usize = 120;

/// Crates with fewer files have no budget for the median: it would depend on one or two of them.
const FEW_FILES: usize = 30;

/// What is too long in a crate, whose sources are in the folder `source`.
pub(super) fn faults(source: &str) -> anyhow::Result<Vec<String>> {
    let (mut faults, mut lengths) = (Vec::new(), Vec::new());
    let folder = root().join(source);
    for file in rust_files(&folder)? {
        let length = std::fs::read_to_string(&file)?.lines().count();
        let file = file.strip_prefix(&folder)?;
        if length > LONGEST {
            let file = file.display();
            faults.push(format!("{source}/{file} has {length} lines, the maximum is {LONGEST}"));
        }
        if !is_test(file) {
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    let count = lengths.len();
    let budgets = [("90th percentile", count * 9 / 10, P90), ("median", count / 2, MEDIAN)];
    for (name, place, budget) in &budgets[..if count < FEW_FILES { 1 } else { 2 }] {
        let length = lengths[*place];
        if length > *budget {
            faults.push(format!("the {name} of {source} is {length} lines, the budget {budget}"));
        }
    }
    Ok(faults)
}

/// Whether a file has unit tests only.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}
