//! Parses the setting `exit_codes` of a plugin.

use jobwright_core::exit_codes::{ExitCodes, Lists};

use crate::api::http::fields::Fields;

/// The shape of each member.
const LIST: &str =
    "a list of exit codes from 0 to 255 and ranges of them, such as [0, 10, \"20-29\"]";

/// Takes the field `exit_codes`. Its lists replace the present ones (RFC 7396); `null` removes one of them, or
/// all.
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
