//! base64 (RFC 4648) as programs write it: in lines, with or without padding, in either alphabet. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The bytes of a base64 text. White space is skipped, `-` and `_` stand for `+` and `/`, and padding
/// may be missing.
///
/// # Errors
/// What is wrong and at which character, counted from 1.
pub(in crate::api) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut digits = Vec::with_capacity(text.len());
    let mut padding = 0;
    for (place, c) in text.chars().enumerate() {
        let digit = match c {
            ' ' | '\t' | '\r' | '\n' => continue,
            '=' => {
                padding += 1;
                continue;
            }
            '-' => b'+',
            '_' => b'/',
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => c as u8,
            _ => {
                let c = jobwright_core::text::harmless(&c.to_string());
                return Err(format!("character {} is `{c}`, which base64 does not use", place + 1));
            }
        };
        if padding > 0 {
            return Err(format!("character {} comes after the `=` that end base64", place + 1));
        }
        digits.push(digit);
    }
    let missing = (4 - digits.len() % 4) % 4;
    if missing == 3 {
        let length = digits.len();
        return Err(format!(
            "ends within a byte: {length} characters of base64 are one too many or two too few"
        ));
    }
    if padding > 0 && padding != missing {
        return Err(format!("ends with {padding} `=` where {missing} belong"));
    }
    STANDARD_NO_PAD.decode(&digits).map_err(|_| {
        "ends within a byte: its last character has bits that belong to no byte".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_read_as_programs_write_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("QUJD\n", b"ABC"),
            ("QUJD\r\nREVG", b"ABCDEF"),
            ("  QU JD\tREVG ", b"ABCDEF"),
            ("QUI", b"AB"),
            ("QUI=", b"AB"),
            ("QQ\n=\n=\n", b"A"),
            ("AA", b"\0"),
            ("-_-_", &[0xfb, 0xff, 0xbf]),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
            ("+_-/", &[0xfb, 0xff, 0xbf]),
        ] {
            assert_eq!(decode(text).as_deref(), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, message) in [
            ("QUJ*", "character 4 is `*`, which base64 does not use"),
            ("ä\n🦀", "character 1 is `ä`, which base64 does not use"),
            ("QU\u{7}", "character 3 is `\\u{7}`, which base64 does not use"),
            ("QQ==QQ==", "character 5 comes after the `=` that end base64"),
            ("QUJDR", "ends within a byte: 5 characters of base64 are one too many or two too few"),
            ("QUI==", "ends with 2 `=` where 1 belong"),
            ("QUJD=", "ends with 1 `=` where 0 belong"),
            ("=", "ends with 1 `=` where 0 belong"),
            ("QUJ", "ends within a byte: its last character has bits that belong to no byte"),
        ] {
            assert_eq!(decode(text), Err(message.to_owned()), "{text:?}");
        }
    }
}
