//! Whole numbers in JSON: `5000.0` and `5e3` are 5000 (RFC 8259, section 6, has one type of number).
//!
//! The functions work on the digits of a number, so nothing is rounded: 9007199254740993 cannot be represented
//! as a binary floating-point number. Pure.

use std::borrow::Cow;

/// The maximum number of digits of a whole number: those of `u64::MAX`, the maximum of all fields.
const MAX_DIGITS: usize = 20;

/// The kind of a JSON number.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) enum Number {
    /// A whole number, in digits only.
    Whole(String),
    /// A whole number whose absolute value exceeds `u64::MAX`, the maximum of all fields.
    TooLarge,
    /// A number with a fraction.
    Fractional,
}

impl Number {
    /// Parses a JSON number.
    pub(in crate::api) fn of(text: &str) -> Self {
        let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{integer}{fraction}");
        let significant = all.trim_end_matches('0');
        let zeros = all.len() - significant.len();
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Self::Whole("0".to_owned());
        }
        let shift = i128::from(power(exponent)) - fraction.len() as i128 + zeros as i128;
        match usize::try_from(shift) {
            Err(_) if shift < 0 => Self::Fractional,
            Ok(zeros) if significant.len().saturating_add(zeros) <= MAX_DIGITS => {
                let digits = format!("{significant}{}", "0".repeat(zeros));
                match digits.parse::<u64>() {
                    Ok(_) => Self::Whole(format!("{sign}{digits}")),
                    Err(_) => Self::TooLarge,
                }
            }
            _ => Self::TooLarge,
        }
    }
}

/// The exponent; if it has too many digits, the largest or smallest `i64`.
fn power(exponent: &str) -> i64 {
    let most = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    exponent.trim_start_matches('+').parse().unwrap_or(most)
}

/// Whether `text` is a JSON number.
pub(in crate::api) fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<&serde_json::value::RawValue>(text)
            .is_ok_and(|raw| raw.get() == text)
}

/// `json` with every whole number in digits only.
pub(in crate::api) fn plain(json: &str) -> Cow<'_, str> {
    let mut written = String::new();
    let mut copied = 0;
    for (from, to) in numbers(json) {
        let number = &json[from..to];
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        if let Number::Whole(digits) = Number::of(number)
            && !is_plain
        {
            written.push_str(&json[copied..from]);
            written.push_str(&digits);
            copied = to;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    written.push_str(&json[copied..]);
    Cow::Owned(written)
}

/// The ranges of the numbers in JSON, outside of strings.
fn numbers(json: &str) -> Vec<(usize, usize)> {
    let bytes = json.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let from = at;
        at += 1;
        match byte {
            b'"' => at = after_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                found.push((from, at));
            }
            _ => {}
        }
    }
    found
}

/// The position behind the string whose contents begin at `at`.
fn after_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
