//! How servers write a byte that they say back: as it is, or as JSON, addresses and HTML escape it.
//! Pure.

/// The longest way to write a byte that is known here, in bytes: `&#` or `&#x`, digits, and `;`.
pub(super) const LONGEST: usize = 12;

/// The bytes with which another than themselves may begin.
pub(super) const ESCAPES: [usize; 4] =
    [b'\\' as usize, b'%' as usize, b'&' as usize, b'+' as usize];

/// What `text` may begin with: a byte, and the length of its writing. The same text may be read in
/// more ways than one: `\u0041` is an `A`, and after a `\u` that stands for `u`, it is `0041`.
pub(super) fn written(text: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let [one, other] = match text {
        [b'\\', b'u', b'0', b'0', high, low, ..] => [Some((b'u', 2)), hex(*high, *low, 6)],
        [b'\\', escaped, ..] => [Some((*escaped, 2)), None],
        [b'%', high, low, ..] => [hex(*high, *low, 3), None],
        [b'&', rest @ ..] => [entity(rest), None],
        // A blank of a form.
        [b'+', ..] => [Some((b' ', 1)), None],
        _ => [None, None],
    };
    text.first().map(|byte| (*byte, 1)).into_iter().chain(one).chain(other)
}

fn hex(high: u8, low: u8, length: usize) -> Option<(u8, usize)> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    Some((byte, length))
}

/// What HTML calls a character, after its `&`.
fn entity(rest: &[u8]) -> Option<(u8, usize)> {
    let length = rest.iter().take(LONGEST - 1).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[..length]).ok()?;
    let byte = match name {
        "quot" => b'"',
        "amp" => b'&',
        "lt" => b'<',
        "gt" => b'>',
        "apos" => b'\'',
        _ => {
            let number = name.strip_prefix('#')?;
            match number.strip_prefix(['x', 'X']) {
                Some(number) => u8::from_str_radix(number, 16).ok()?,
                None => number.parse().ok()?,
            }
        }
    };
    Some((byte, length + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_known_in_whichever_way_it_is_written() {
        for (text, byte) in [
            ("+", b'+'),
            ("\\+", b'+'),
            ("\\u002B", b'+'),
            ("\\u002b", b'+'),
            ("%2B", b'+'),
            ("%2b", b'+'),
            ("&#43;", b'+'),
            ("&#0000043;", b'+'),
            ("&#x2B;", b'+'),
            ("&#X2b;", b'+'),
            ("&#x0000002B;", b'+'),
            ("&amp;", b'&'),
            ("&quot;", b'"'),
            ("&lt;", b'<'),
            ("&gt;", b'>'),
            ("&apos;", b'\''),
            ("+", b' '),
        ] {
            assert!(text.len() <= LONGEST, "{text}");
            let with_more = format!("{text}41;");
            for text in [text, &with_more] {
                let known = written(text.as_bytes()).any(|found| found.0 == byte);
                assert!(known, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_escape_is_itself_alone() {
        for text in ["a", "%", "%4", "%4g", "&", "&#;", "&#300;", "&nbsp;", "&amp", "\\"] {
            let found: Vec<_> = written(text.as_bytes()).collect();
            assert_eq!(found, [(text.as_bytes()[0], 1)], "{text}");
        }
        assert_eq!(written(b"").count(), 0);
    }
}
