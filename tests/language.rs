//! The words of the project: plain technical English, see `host/docs/src/working.md`. A phrase that
//! readers cannot search for, or have to read twice, fails here.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use jobwright_tests::tests;
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    tests![no_text_has_a_forbidden_phrase, phrases_are_found]
}

/// What is not written, and what is written instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("whoever", "a client, a caller"),
    ("stranger", "an unknown client"),
    ("strangers", "unknown clients"),
    ("deed", "an action"),
    ("deeds", "actions"),
    ("usual tenant", "the default tenant"),
    ("shut in", "sandboxed, confined"),
    ("a text", "a string"),
    ("who asks", "the client that sends the request"),
    ("who has", "a client that has"),
    ("what is held", "the noun: a paused queue, a lease"),
    ("lets go of", "releases, drops"),
    ("let go of", "released, dropped"),
    ("none for none", "`None` if there is none"),
    ("speaks against", "is reported on"),
    ("errand", "a request"),
    ("the most that may", "the maximum"),
    ("than any may", "than the limit of"),
    ("looks at the queue", "polls the queue"),
    ("a store goes on", "the store recovered"),
    ("who sends", "a client that sends"),
    ("who says", "the noun: a client, a server"),
    ("everybody", "all callers"),
    ("somebody", "a client, another process"),
    ("anybody", "any client, any process"),
    ("by and by", "in steps, later"),
    ("in whatever clothes", "in any form"),
    ("lets nobody in", "is revoked or expired"),
    ("let nobody in", "was revoked or has expired"),
    ("hides nothing", "has no secrets"),
    ("held against", "counted against, compared with"),
    ("what it must not", "an invalid message, a protocol violation"),
    ("broke the rules", "violated the protocol"),
    ("honest runner", "a runner that follows the protocol"),
    ("gone on from", "continued from"),
    ("passes by", "skips"),
    ("pass by", "skip"),
    ("lets others go on", "yields"),
    ("what is no", "the noun: an invalid message, other handles"),
    ("what becomes", "the noun: the outcome, the change"),
    ("what came of", "the noun: the result"),
    ("what was told", "the noun: progress, a checkpoint"),
    ("who waits", "a request that waits"),
    ("to whom", "the noun: a client, a tenant"),
    ("made anew", "made again"),
    ("of whichever kind", "of every kind"),
    ("written over", "overwritten"),
    ("switched off", "disabled"),
    ("she", "the operator, the tenant"),
    ("her", "of the operator, of the tenant"),
    ("he", "the operator, the tenant"),
    ("his", "of the operator, of the tenant"),
    ("him", "the operator, the tenant"),
];

/// Two phrases of one sentence that readers take apart in vain: `it does not …, whether …`.
const RIDDLE: (&str, &str) = ("does not", "whether");

/// How far apart the two halves of a riddle may be, in bytes: a long sentence.
const SENTENCE: usize = 200;

/// What is read.
const ROOTS: &[&str] = &["README.md", ".ci", "host", "guest-sdk", "plugins", "tests"];

/// The last is that of `.ci/run`, which has none.
const EXTENSIONS: &[&str] =
    &["md", "rs", "html", "wit", "h", "toml", "c", "cpp", "go", "js", "py", "ts", "zig", ""];

/// Folders that hold no text of ours: builds, packages, texts that plugins work on, generated code.
const SKIPPED: &[&str] = &["target", "node_modules", "samples", "seeds", "bindings", "fuzz"];

async fn no_text_has_a_forbidden_phrase() -> anyhow::Result<()> {
    let mut found = Vec::new();
    for file in files()? {
        let text = std::fs::read_to_string(root().join(&file))?;
        let faults = faults(&text, file.extension().is_some_and(|e| e == "rs"));
        found.extend(faults.into_iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

async fn phrases_are_found() -> anyhow::Result<()> {
    for bad in [
        "Whoever calls",
        "/// is shut\n/// in here",
        "fn a_stranger_fills() {}",
        "Reason::LetGoOf",
        "It does not, whether it may or not",
    ] {
        ensure!(faults(bad, true).len() == 1, "{bad}");
    }
    for good in ["indeed", "a context", "the", "let a = text;", "It does not. Whether", "a  string"]
    {
        ensure!(faults(good, true).is_empty(), "{good}");
    }
    // Names of tests in a page are those of the tests.
    ensure!(faults("`api::a_stranger_fills`", false).is_empty());
    Ok(())
}

/// The forbidden phrases of a text; with `names`, also those in names in snake case and camel case.
fn faults(text: &str, names: bool) -> Vec<String> {
    let text = flowing(text, names);
    let mut faults: Vec<String> = FORBIDDEN
        .iter()
        .filter_map(|(bad, good)| {
            let at = find(&text, bad)?;
            Some(format!("`{}`: write {good}", around(&text, at)))
        })
        .collect();
    faults.extend(riddle(&text).map(|at| format!("`{}`: say it in one way", around(&text, at))));
    faults
}

/// The text in lower case, as one line without the marks of comments.
fn flowing(text: &str, names: bool) -> String {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', '#', '*']));
    let text = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    if names { words(&text).to_lowercase() } else { text.to_lowercase() }
}

/// The text with names taken apart.
fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() && words.ends_with(|before: char| before.is_lowercase()) {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c });
    }
    words
}

/// Where `phrase` stands between the bounds of words.
fn find(text: &str, phrase: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn riddle(text: &str) -> Option<usize> {
    let (first, second) = RIDDLE;
    text.match_indices(first).map(|(at, _)| at).find(|at| {
        let sentence = text[*at..].split(['.', ';', ':', '{', '}']).next().unwrap_or_default();
        find(sentence, second).is_some_and(|second| second <= SENTENCE)
    })
}

/// The words beside a place.
fn around(text: &str, at: usize) -> String {
    let before: Vec<&str> = text[..at].split(' ').rev().take(4).collect();
    let before = before.into_iter().rev().collect::<Vec<_>>().join(" ");
    let after = text[at..].split(' ').take(5).collect::<Vec<_>>().join(" ");
    format!("{before}{after}")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files to read, under the root.
fn files() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = ROOTS.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if root().join(&path).is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                for entry in std::fs::read_dir(root().join(&path))? {
                    open.push(path.join(entry?.file_name()));
                }
            }
        } else if is_read(&path) {
            files.push(path);
        }
    }
    ensure!(files.len() > 100, "the tree has files: {files:?}");
    Ok(files)
}

/// Whether a file is text of ours; this one has the phrases.
fn is_read(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    EXTENSIONS.contains(&extension.as_ref()) && path != Path::new("tests/language.rs")
}
