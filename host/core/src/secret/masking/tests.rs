use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;

mod dumps;

fn mask(secrets: &[&str]) -> Mask {
    let value = |secret: &&str| (*secret).to_owned().try_into().expect("a value");
    Mask::of(&secrets.iter().map(value).collect::<Vec<_>>())
}

fn covered(secrets: &[&str], text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    mask(secrets).cover(&mut bytes, &|| true);
    bytes
}

fn shown(secrets: &[&str], text: &str) -> String {
    String::from_utf8(covered(secrets, text.as_bytes())).expect("text")
}

#[test]
fn every_occurrence_is_masked_in_its_length() {
    assert_eq!(shown(&["12345678"], "12345678 a 1234567 1234567812345678"), {
        "******** a 1234567 ****************"
    });
    assert_eq!(shown(&[], "12345678"), "12345678");
}

#[test]
fn overlapping_secrets_are_both_masked() {
    assert_eq!(shown(&["abcdefgh", "efghijkl"], "<abcdefghijkl>"), "<************>");
    assert_eq!(shown(&["abcdefgh", "abcdefghijkl"], "<abcdefghijkl>"), "<************>");
    assert_eq!(shown(&["abcdefgh", "abcdefghijkl"], "<abcdefghijk>"), "<********ijk>");
}

/// Writes every character that is no letter and no digit in its own way.
fn escaping(text: &str, way: impl Fn(char) -> String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.chars().map(|c| if plain(c) { c.to_string() } else { way(c) }).collect()
}

fn json(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/")
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

type Way = (&'static str, fn(&str) -> String);

/// Escapes that end where the next character is no digit.
const OPEN: [&str; 3] = ["open decimal entities", "open hexadecimal entities", "octal"];

const ESCAPES: [Way; 15] = [
    ("as it is", |text| text.to_owned()),
    ("JSON", json),
    ("JSON in ASCII", |text| escaping(text, |c| format!("\\u{:04x}", u32::from(c)))),
    ("JSON of .NET", |text| escaping(text, |c| format!("\\u{:04X}", u32::from(c)))),
    ("JavaScript", |text| escaping(text, |c| format!("\\x{:02x}", u32::from(c)))),
    ("slashes", |text| escaping(text, |c| format!("\\{c}"))),
    ("percent", |text| escaping(text, |c| format!("%{:02X}", u32::from(c)))),
    ("percent in lower case", |text| escaping(text, |c| format!("%{:02x}", u32::from(c)))),
    ("HTML", html),
    ("decimal entities", |text| escaping(text, |c| format!("&#{};", u32::from(c)))),
    ("hexadecimal entities", |text| escaping(text, |c| format!("&#x{:X};", u32::from(c)))),
    (OPEN[0], |text| escaping(text, |c| format!("&#{}", u32::from(c)))),
    (OPEN[1], |text| escaping(text, |c| format!("&#x{:x}", u32::from(c)))),
    (OPEN[2], |text| escaping(text, |c| format!("\\{:o}", u32::from(c)))),
    ("quoted-printable", |text| escaping(text, |c| format!("={:02X}", u32::from(c)))),
];

/// With every kind of character that escapes begin with, or that writers escape.
const ODD: &str = r#"a+b"c&d<e>f'g/h\i j%41k=3Dl"#;

#[test]
fn a_secret_is_found_in_each_escape_within_each_other_within_each_other() {
    for (first, inner) in ESCAPES {
        for (second, middle) in ESCAPES {
            for (third, outer) in ESCAPES {
                let text = outer(&middle(&inner(ODD)));
                let seen = shown(&[ODD], &format!("<{text}> {text}"));
                let stars = "*".repeat(text.len());
                assert_eq!(
                    seen,
                    format!("<{stars}> {stars}"),
                    "{first}, {second}, {third}: {text}"
                );
            }
        }
    }
}

#[test]
fn a_secret_is_found_after_an_incomplete_escape() {
    for before in ["%", "\\", "\\u00", "&", "&#", "+", "="] {
        let seen = shown(&["41424344;"], &format!("{before}41424344;"));
        assert!(seen.ends_with("*********"), "{seen}");
    }
}

fn bytes_of(text: &str, width: usize, little: bool) -> Vec<u8> {
    text.bytes()
        .flat_map(|byte| {
            let mut wide = vec![0; width];
            wide[if little { 0 } else { width - 1 }] = byte;
            wide
        })
        .collect()
}

#[test]
fn a_secret_is_found_in_utf_16_and_utf_32() {
    for (width, little) in [(2, true), (2, false), (4, true), (4, false)] {
        let text = bytes_of(&format!("<{ODD}>"), width, little);
        let seen = covered(&[ODD], &text);
        let left = seen.iter().filter(|byte| !b"*\0".contains(byte)).copied();
        assert_eq!(left.collect::<Vec<_>>(), b"<>", "{width} {little}");
        let in_json = escaping("a", |c| c.to_string()) + &"s\\u0000".repeat(10);
        assert!(shown(&["ssssssss"], &in_json).starts_with("a***"), "{in_json}");
    }
}

/// How text is escaped in which there are zeros.
const AROUND: [Way; 4] = [
    ("as it is", |text| text.to_owned()),
    ("JSON", |text| json(text).replace('\0', "\\u0000")),
    ("JSON in JSON", |text| json(&json(text).replace('\0', "\\u0000"))),
    ("percent", |text| escaping(text, |c| format!("%{:02X}", u32::from(c)))),
];

/// Asserts that nothing is left of a secret in this `text` of this width, but for the zeros around it.
fn assert_covered_wide(text: &str, width: usize, little: bool, around: Way) {
    let wide = String::from_utf8(bytes_of(text, width, little)).expect("ASCII");
    let wide = around.1(&wide);
    let seen = shown(&[ODD], &format!("<{wide}>"));
    let left: String = seen.chars().filter(|c| !"*<>".contains(*c)).collect();
    let zeros = around.1(&"\0".repeat(width - 1));
    assert_eq!(left, zeros, "{width} {little}, {}: {wide}", around.0);
}

#[test]
fn a_secret_is_found_in_utf_16_of_each_escape_within_each_other() {
    for (_, inner) in ESCAPES {
        for (_, outer) in ESCAPES {
            assert_covered_wide(&outer(&inner(ODD)), 2, true, AROUND[0]);
        }
    }
}

#[test]
fn a_secret_is_found_in_utf_16_and_utf_32_that_are_escaped_themselves() {
    for (_, escape) in ESCAPES {
        for around in AROUND {
            for (width, little) in [(2, true), (2, false), (4, true)] {
                assert_covered_wide(&escape(ODD), width, little, around);
            }
        }
    }
}

#[test]
fn a_long_text_of_zeros_is_searched_in_pieces_that_overlap() {
    let secret = "s3cr3t-v4lue";
    for place in [0, 60_000, 65_536, 66_000, 66_390, 66_401, 120_000] {
        let mut text = "x".repeat(140_000).into_bytes();
        text[place..place + secret.len()].copy_from_slice(secret.as_bytes());
        let wide = bytes_of(&lossy(&text), 2, true);
        let seen = covered(&[secret], &wide);
        assert_eq!(seen.iter().filter(|byte| **byte == b'*').count(), 23, "{place}");
    }
}

type Digits = (&'static str, fn(&[u8]) -> String);

const DIGITS: [Digits; 5] = [
    ("base64", |bytes| STANDARD.encode(bytes)),
    ("base64url", |bytes| URL_SAFE_NO_PAD.encode(bytes)),
    ("base64 in lines", |bytes| {
        let lines = STANDARD.encode(bytes);
        lines.as_bytes().chunks(8).map(|line| format!("{}\r\n", lossy(line))).collect()
    }),
    ("hexadecimal", |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    ("HEXADECIMAL", |bytes| bytes.iter().map(|byte| format!("{byte:02X} ")).collect()),
];

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is left of masked input, without characters that carry no information.
fn left(seen: &str) -> usize {
    seen.chars().filter(|c| c.is_ascii_alphanumeric() || "+/-_".contains(*c)).count()
}

#[test]
fn a_secret_is_found_in_digits_wherever_it_begins() {
    let secret = "s3cr3t>v4lue?";
    for before in ["", "a", "ab", "abc", "abcd"] {
        for after in ["", "x", "xy", "xyz"] {
            for (name, digits) in DIGITS {
                let text = digits(format!("{before}{secret}{after}").as_bytes());
                let seen = shown(&[secret], &text);
                // The digits of the text around it alone.
                let others = if name.starts_with("base") { 8_usize.div_ceil(6) } else { 2 };
                let most = (before.len() + after.len()) * others;
                assert!(left(&seen) <= most, "{name} {before} {after}: {text} {seen}");
            }
        }
    }
}

#[test]
fn a_secret_is_found_in_digits_of_digits_of_escapes_and_escaped_again() {
    for (inner, escape) in ESCAPES {
        for (first, digits) in DIGITS {
            for (second, again) in DIGITS {
                for (outer, escape_again) in ESCAPES {
                    let text = again(digits(escape(ODD).as_bytes()).as_bytes());
                    let text = escape_again(&text);
                    let seen = shown(&[ODD], &text);
                    let names = [inner, first, second, outer];
                    assert!(seen.starts_with("***"), "{names:?}: {text} {seen}");
                    let stars = seen.matches('*').count();
                    assert!(stars * 10 >= text.len() * 7, "{names:?}: {text} {seen}");
                }
            }
        }
    }
}

#[test]
fn a_secret_is_found_in_digits_however_they_are_separated() {
    fn joined(bytes: &[u8], form: fn(&u8) -> String, between: &str) -> String {
        bytes.iter().map(form).collect::<Vec<_>>().join(between)
    }
    let ways: [Digits; 6] = [
        ("with commas", |bytes| joined(bytes, |byte| format!("{byte:02x}"), ",")),
        ("with commas and blanks", |bytes| joined(bytes, |byte| format!("{byte:02x}"), ", ")),
        ("with dashes", |bytes| joined(bytes, |byte| format!("{byte:02X}"), "-")),
        ("as in C", |bytes| joined(bytes, |byte| format!("0x{byte:02x}"), ", ")),
        ("as in C, large", |bytes| joined(bytes, |byte| format!("0X{byte:02X}"), ",")),
        ("base64 in indented lines", |bytes| {
            let lines = STANDARD.encode(bytes);
            lines.as_bytes().chunks(8).map(|line| format!("\n    {}", lossy(line))).collect()
        }),
    ];
    for (name, digits) in ways {
        let text = digits(ODD.as_bytes());
        let seen = shown(&[ODD], &text);
        // Of the first digit, what says that it is one.
        assert!(left(&seen) <= 2, "{name}: {text} {seen}");
    }
    let prose = "some words in lines\n  that say nothing, and more-or-less 0x7 of them";
    assert_eq!(shown(&[ODD], prose), prose);
}

#[test]
fn a_secret_is_found_in_base64_of_utf_16() {
    let text = STANDARD.encode(bytes_of(&format!("Bearer {ODD}"), 2, true));
    let seen = shown(&[ODD], &text);
    // And a digit of the zero that follows the last character.
    assert!(left(&seen) <= (2 * "Bearer ".len() * 8).div_ceil(6) + 1, "{seen}");
}

#[test]
fn a_long_text_of_digits_is_decoded_in_pieces_that_overlap() {
    let secret = "s3cr3t-v4lue";
    for place in [0, 49_000, 49_100, 49_152, 49_153, 49_200, 98_400] {
        let mut bytes = vec![0xa7; 150_000];
        bytes[place..place + secret.len()].copy_from_slice(secret.as_bytes());
        let seen = shown(&[secret], &STANDARD.encode(&bytes));
        assert!(seen.matches('*').count() >= secret.len() * 8 / 6, "{place}");
        assert!(seen.matches('*').count() <= (secret.len() * 8).div_ceil(6) + 2, "{place}");
    }
}

#[test]
fn a_long_text_without_secrets_is_unchanged() {
    let words = "the quick brown fox \\\"jumps\\\" over %20 the lazy dog &amp; ".repeat(400);
    assert_eq!(shown(&[ODD, "s3cr3t-v4lue"], &words), words);
    // JSON within JSON within JSON, of which a third is backslashes.
    let row = "{\"id\":12,\"name\":\"a/b\",\"note\":\"say \\\"hi\\\"\"},".repeat(200);
    let deep = json(&json(&json(&row)));
    assert_eq!(shown(&[ODD, "s3cr3t-v4lue"], &deep), deep);
    let image: Vec<u8> =
        (0..20_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for (name, digits) in DIGITS {
        let text = json(&digits(&image));
        assert_eq!(shown(&[ODD, "s3cr3t-v4lue"], &text), text, "{name}");
    }
}

#[test]
fn input_that_takes_too_many_steps_is_masked_as_a_whole() {
    let (secret, text) = (format!("{}b", "a".repeat(4000)), "a".repeat(200_000));
    assert_eq!(shown(&[&secret], &text), "*".repeat(text.len()));
    let text = "aaaa ".repeat(1000);
    assert_eq!(shown(&[&secret], &text), text);
    for flood in ["\\", "%25", "&amp;", "&amp", "%", "=3D", "\\u005c", "+", "&#38", "\\134"] {
        let text = flood.repeat(5_000);
        let seen = shown(&["s3cr3t-v4lue", "\\\\\\\\\\\\\\\\\\x"], &text);
        assert_eq!(seen.len(), text.len());
    }
}

#[test]
fn a_flood_of_escape_prefixes_is_searched_within_bounds() {
    let secrets = ["s3cr3t-v4lue", "\\\\\\\\\\\\\\\\x"];
    for flood in [
        "\\", "%25", "&amp;", "&amp", "%", "=3D", "\\u005c", "+", "\\u0000", "\0", "&#38", "\\134",
        "\\u0020", "0000: 00", "7 ",
    ] {
        let text = format!("{}<s3cr3t-v4lue>", flood.repeat(5_000));
        let value = text.len() - "s3cr3t-v4lue>".len();
        let looks = std::cell::Cell::new(0_u64);
        let mut bytes = text.clone().into_bytes();
        mask(&secrets).cover(&mut bytes, &|| {
            looks.set(looks.get() + 1);
            true
        });
        // The budget of steps for an input of this length; one question is asked per 2^16 steps.
        assert!(looks.get() <= (64 * text.len() as u64 + (1 << 20)) >> 16, "{flood}");
        let seen = lossy(&bytes);
        assert!(seen[value..].starts_with("************"), "{flood}: {}", &seen[value..]);
        // Text without secrets is unchanged, unless the search took too many steps.
        let is_whole = seen.bytes().all(|byte| byte == b'*');
        assert!(is_whole || text.starts_with(&seen[..value]), "{flood}");
    }
}

#[test]
fn a_search_whose_caller_is_dropped_ends() {
    use std::cell::Cell;
    let (asked, text) = (Cell::new(0), "s3cr3t-v4lue ".repeat(100_000));
    let mut bytes = text.clone().into_bytes();
    mask(&["s3cr3t-v4lue"]).cover(&mut bytes, &|| {
        asked.set(asked.get() + 1);
        asked.get() < 3
    });
    assert_eq!((asked.get(), lossy(&bytes)), (3, "*".repeat(text.len())));
}

#[test]
fn header_names_and_values_are_masked_too() {
    let mask = mask(&["S3cretValue"]);
    let mut headers = HeaderMap::new();
    headers.insert("x-echo", HeaderValue::from_static("Bearer S3cretValue"));
    headers.insert("x-s3cretvalue", HeaderValue::from_static("1"));
    let encoded =
        format!("x-{}", STANDARD.encode("S3cretValue").trim_end_matches('=')).to_lowercase();
    let encoded = encoded.parse::<http::HeaderName>().expect("a name");
    headers.insert(encoded, HeaderValue::from_static("1"));
    let hex: String = "S3cretValue".bytes().map(|byte| format!("{byte:02x}")).collect();
    headers.insert(hex.parse::<HeaderName>().expect("a name"), HeaderValue::from_static("1"));
    headers.insert("x-else", HeaderValue::from_static("kept"));
    mask.cover_headers(&mut headers, &|| true);
    assert_eq!(headers["x-echo"], "Bearer ***********");
    assert_eq!((headers.len(), &headers["x-else"]), (2, &HeaderValue::from_static("kept")));
}
