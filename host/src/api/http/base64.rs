//! base64 (RFC 4648) in all common forms: in lines, with or without padding, in either alphabet. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Decodes base64. White space is skipped, `-` and `_` mean `+` and `/`, and padding is optional.
///
/// # Errors
/// A message with the position of the first invalid character, counted from 1.
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
            return Err(format!(
                "character {} follows the padding `=`, which ends base64",
                place + 1
            ));
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
        return Err(format!("ends with {padding} `=`; expected {missing}"));
    }
    STANDARD_NO_PAD.decode(&digits).map_err(|_| {
        "ends within a byte: its last character has bits beyond the last byte".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_decoded_in_all_common_forms() {
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
    fn errors_have_a_position() {
        for (text, message) in [
            ("QUJ*", "character 4 is `*`, which base64 does not use"),
            ("ä\n🦀", "character 1 is `ä`, which base64 does not use"),
            ("QU\u{7}", "character 3 is `\\u{7}`, which base64 does not use"),
            ("QQ==QQ==", "character 5 follows the padding `=`, which ends base64"),
            ("QUJDR", "ends within a byte: 5 characters of base64 are one too many or two too few"),
            ("QUI==", "ends with 2 `=`; expected 1"),
            ("QUJD=", "ends with 1 `=`; expected 0"),
            ("=", "ends with 1 `=`; expected 0"),
            ("QUJ", "ends within a byte: its last character has bits beyond the last byte"),
        ] {
            assert_eq!(decode(text), Err(message.to_owned()), "{text:?}");
        }
    }
}
