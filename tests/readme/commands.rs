//! The page on the command line has a section for each command, which names each of its flags and no
//! others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;

const PAGE: &str = include_str!("../../host/docs/src/reference/cli.md");

/// The section with flags that several commands have.
const COMMON: &str = "## Common options";

pub(super) fn trials() -> Vec<Trial> {
    tests![every_command_and_flag_is_documented]
}

async fn every_command_and_flag_is_documented() -> anyhow::Result<()> {
    let commands = commands();
    let sections = sections();
    let (documented, existing): (BTreeSet<&str>, BTreeSet<&str>) =
        (sections.keys().copied().collect(), commands.keys().map(String::as_str).collect());
    assert_eq!(documented, existing);
    let common = flags(section(COMMON).context("the common options have a section")?);
    for (command, existing) in &commands {
        let documented = flags(sections[command.as_str()]);
        let missing: Vec<_> =
            existing.iter().filter(|f| !documented.contains(*f) && !common.contains(*f)).collect();
        let gone: Vec<_> = documented.difference(existing).collect();
        ensure!(missing.is_empty(), "`{command}` does not document {missing:?}");
        ensure!(gone.is_empty(), "`{command}` documents {gone:?}, which it does not take");
    }
    let gone: Vec<_> =
        common.iter().filter(|f| !commands.values().any(|c| c.contains(*f))).collect();
    ensure!(gone.is_empty(), "no command takes {gone:?}");
    Ok(())
}

/// The long flags of each command, with those of the commands that it belongs to.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    let mut commands = BTreeMap::new();
    let mut open = vec![(jobwright::cli::command(), String::new(), BTreeSet::new())];
    while let Some((command, prefix, mut known)) = open.pop() {
        let name = format!("{prefix}{}", command.get_name());
        known.extend(command.get_arguments().filter_map(|a| Some(format!("--{}", a.get_long()?))));
        if command.has_subcommands() {
            let inner = command.get_subcommands();
            open.extend(inner.map(|inner| (inner.clone(), format!("{name} "), known.clone())));
        } else {
            commands.insert(name, known);
        }
    }
    commands
}

/// The sections on commands, by the command.
fn sections() -> BTreeMap<&'static str, &'static str> {
    PAGE.split("\n### `")
        .skip(1)
        .filter_map(|rest| rest.split_once('`'))
        .map(|(command, rest)| (command, until_heading(rest)))
        .collect()
}

/// The section with this heading.
fn section(heading: &str) -> Option<&'static str> {
    PAGE.split_once(heading).map(|(_, rest)| until_heading(rest))
}

fn until_heading(text: &str) -> &str {
    text.split_once("\n#").map_or(text, |(section, _)| section)
}

/// Each flag that is named in code of a section.
fn flags(text: &str) -> BTreeSet<String> {
    let is_flag = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split_whitespace())
        .filter(|word| word.starts_with("--"))
        .map(|word| word.chars().take_while(|c| is_flag(*c)).collect())
        .collect()
}
