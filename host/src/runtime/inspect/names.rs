//! Names that a plugin chose, in messages and records: shortened, and a bounded number of them.

use jobwright_core::name::shorten;
use jobwright_core::plugin::MAX_NAMES;

/// How many names a message shows; the rest is counted.
const MOST_NAMES: usize = 5;

/// Exports, as a message shows them.
pub(super) fn exported<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let quoted = names.map(|name| format!("`{}`", shorten(name)));
    some_of(quoted).unwrap_or_else(|| "nothing".to_owned())
}

/// Some of `all`, and how many more there are; `None` if there are none.
pub(super) fn some_of(all: impl ExactSizeIterator<Item = String>) -> Option<String> {
    let rest = all.len().saturating_sub(MOST_NAMES);
    let shown: Vec<_> = all.take(MOST_NAMES).collect();
    if shown.is_empty() {
        return None;
    }
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    Some(shown.join(", ") + &more)
}

/// The names in a plugin's record: sorted, without duplicates, and bounded.
pub(super) fn listed(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_NAMES);
    names
}
