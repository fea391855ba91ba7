//! Removes e-mail addresses and card numbers from text, so that it may be shown or stored.
#![allow(missing_docs, reason = "`plugin_fn` drops the comment of its function")]

use extism_pdk::{FnResult, info, plugin_fn};
use regex_lite::{Captures, Regex};

/// Text that looks like an e-mail address.
const ADDRESS: &str = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+";

/// 13 to 19 digits, perhaps in groups.
const DIGITS: &str = r"\b\d(?:[ -]?\d){12,18}\b";

/// The text with `[e-mail]` and `[card]` in place of the removed parts.
#[plugin_fn]
pub fn run(text: String) -> FnResult<String> {
    let (text, addresses) = replace(ADDRESS, &text, |_| Some("[e-mail]"))?;
    let (text, cards) = replace(DIGITS, &text, |digits| is_card(digits).then_some("[card]"))?;
    info!("took out {addresses} e-mail addresses and {cards} card numbers");
    Ok(text)
}

/// Replaces each match of `pattern` for which `by` returns a replacement; also returns how many there were.
fn replace(
    pattern: &str,
    text: &str,
    by: impl Fn(&str) -> Option<&'static str>,
) -> Result<(String, usize), regex_lite::Error> {
    let mut count = 0;
    let replaced = Regex::new(pattern)?.replace_all(text, |found: &Captures| {
        let instead = by(&found[0]);
        count += usize::from(instead.is_some());
        instead.unwrap_or(&found[0]).to_owned()
    });
    Ok((replaced.into_owned(), count))
}

/// Whether the last digit is the check digit of the others (Luhn, ISO/IEC 7812-1).
fn is_card(text: &str) -> bool {
    let digits = text.chars().rev().filter_map(|c| c.to_digit(10));
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_has_a_check_digit() {
        assert!(is_card("4111 1111-1111 1111"));
        assert!(!is_card("4111 1111 1111 1112"));
    }

    #[test]
    fn replacements_are_counted() {
        let (text, count) = replace(ADDRESS, "a@b.org, c@d, e.f@g.example", |_| Some("X")).unwrap();
        assert_eq!((text.as_str(), count), ("X, c@d, X", 2));
        assert_eq!(replace(DIGITS, "1 234 5678901234567", |_| None).unwrap().1, 0);
    }
}
