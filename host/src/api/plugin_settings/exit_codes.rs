//! The setting that says what a plugin's exit codes mean, as requests give it.

use jobwright_core::exit_codes::{ExitCodes, Lists};

use crate::api::http::fields::Fields;

/// What each member is.
const LIST: &str =
    "a list of exit codes from 0 to 255 and ranges of them, such as [0, 10, \"20-29\"]";

/// Takes the field `exit_codes`: the lists that it gives replace those that were set (RFC 7396), and
/// `null` takes one back, or all.
pub(in crate::api) fn take(fields: &mut Fields, codes: &mut ExitCodes) {
    let mut given = match fields.take_object("exit_codes") {
        None => return,
        Some(None) => return *codes = ExitCodes::default(),
        Some(Some(given)) => given,
    };
    let mut lists = Lists::from(codes.clone());
    let Lists { succeed, retry, fail, snooze } = &mut lists;
    for (name, list) in [("succeed", succeed), ("retry", retry), ("fail", fail), ("snooze", snooze)]
    {
        if let Some(changed) = given.change(name, LIST) {
            *list = changed.unwrap_or_default();
        }
    }
    fields.absorb("exit_codes", given, "is not a meaning of exit codes");
    match ExitCodes::try_from(lists) {
        Ok(valid) => *codes = valid,
        Err(error) => fields.wrong("exit_codes", error),
    }
}
