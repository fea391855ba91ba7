//! Secrets in what programs print of bytes: dumps, and arrays of numbers.

use std::fmt::Write as _;

use super::*;

/// How a program prints the lines of a dump.
struct Style {
    name: &'static str,
    /// Bytes in a line.
    bytes: usize,
    offset: fn(usize) -> String,
    groups: fn(&[u8]) -> String,
    /// What stands around the characters, if they are printed.
    frame: Option<(&'static str, &'static str)>,
}

fn joined(bytes: &[u8], form: fn(&[u8]) -> String, width: usize) -> String {
    bytes.chunks(width).map(form).collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn reversed(bytes: &[u8]) -> String {
    let word = if bytes.len() == 1 { [bytes, &[0]].concat() } else { bytes.to_vec() };
    word.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

const STYLES: [Style; 9] = [
    Style {
        name: "xxd",
        bytes: 16,
        offset: |at| format!("{at:08x}: "),
        groups: |bytes| format!("{:39}", joined(bytes, hex, 2)),
        frame: Some(("", "")),
    },
    Style {
        name: "xxd -g 1 -u",
        bytes: 16,
        offset: |at| format!("{at:08X}: "),
        groups: |bytes| format!("{:47}", joined(bytes, hex, 1).to_uppercase()),
        frame: Some(("", "")),
    },
    Style {
        name: "xxd -g 4 -c 32",
        bytes: 32,
        offset: |at| format!("{at:08x}: "),
        groups: |bytes| format!("{:71}", joined(bytes, hex, 4)),
        frame: Some(("", "")),
    },
    Style {
        name: "xxd -e",
        bytes: 16,
        offset: |at| format!("{at:08x}: "),
        groups: |bytes| format!("{:35}", joined(bytes, reversed, 4)),
        frame: Some((" ", "")),
    },
    Style {
        name: "hexdump -C",
        bytes: 16,
        offset: |at| format!("{at:08x}  "),
        groups: |bytes| {
            let (first, second) = bytes.split_at(bytes.len().min(8));
            format!("{:50}", format!("{:23}  {}", joined(first, hex, 1), joined(second, hex, 1)))
        },
        frame: Some(("|", "|")),
    },
    Style {
        name: "od -A x -t x1z",
        bytes: 16,
        offset: |at| format!("{at:06x} "),
        groups: |bytes| format!("{:49}", joined(bytes, hex, 1)),
        frame: Some((">", "<")),
    },
    Style {
        name: "od -x",
        bytes: 16,
        offset: |at| format!("{at:07o} "),
        groups: |bytes| joined(bytes, reversed, 2),
        frame: None,
    },
    Style {
        name: "od -x of macOS",
        bytes: 16,
        offset: |at| format!("{at:07o}      "),
        groups: |bytes| joined(bytes, reversed, 2).replace(' ', "    "),
        frame: None,
    },
    Style {
        name: "od -b",
        bytes: 16,
        offset: |at| format!("{at:07o} "),
        groups: |bytes| joined(bytes, |byte| format!("{:03o}", byte[0]), 1),
        frame: None,
    },
];

impl Style {
    fn dump(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for (number, line) in bytes.chunks(self.bytes).enumerate() {
            text += &(self.offset)(number * self.bytes);
            text += &(self.groups)(line);
            if let Some((before, after)) = self.frame {
                let shown = line.iter().map(|byte| match byte {
                    b' '..=b'~' => char::from(*byte),
                    _ => '.',
                });
                write!(text, "  {before}{}{after}", shown.collect::<String>()).expect("memory");
            }
            text.push('\n');
        }
        text
    }
}

/// Secrets of which lines have parts that look like digits, or like escapes.
const SECRETS: [&str; 4] =
    ["s3cr3t-v4lue", ODD, "deadbeef00c0ffee11fade22decade33", "be a 12 \\n \\\\ | > ab cd ef"];

/// Asserts that nothing of the secret is left in a dump that has other bytes around it and is `written` in
/// some way.
fn assert_covered_in(style: &Style, secret: &str, before: usize, written: Way) {
    let around = |length: usize| "~".repeat(length);
    let text = format!("{}{secret}{}", around(before), around(7));
    let dump = written.1(&style.dump(text.as_bytes()));
    let seen = shown(&[secret], &format!("{{\"log\":\"{dump}\"}}"));
    // The same of what stands around the secret alone, where the secret was not.
    let blank = text.replace(secret, &around(secret.len()));
    let blank = written.1(&style.dump(blank.as_bytes()));
    let blank = format!("{{\"log\":\"{blank}\"}}");
    let names = (style.name, written.0, before);
    if blank.len() == seen.len() {
        for (at, (seen, blank)) in seen.bytes().zip(blank.bytes()).enumerate() {
            assert!(b"* ".contains(&seen) || seen == blank, "{names:?} at {at}:\n{dump}\n{seen}");
        }
    }
    let stars = seen.matches('*').count();
    assert!(stars >= secret.len() * 2, "{names:?}:\n{dump}\n{seen}");
    assert!(seen.starts_with("{\"log\":\"") && seen.ends_with("\"}"), "{names:?}:\n{dump}\n{seen}");
}

#[test]
fn a_secret_is_found_in_a_dump_wherever_its_lines_end() {
    for style in &STYLES {
        for secret in SECRETS {
            for before in 0..33 {
                assert_covered_in(style, secret, before, ESCAPES[0]);
            }
        }
    }
}

#[test]
fn a_secret_is_found_in_a_dump_that_is_escaped() {
    let in_json: Way = ("JSON", |text| json(text).replace('\n', "\\n"));
    let in_json_twice: Way = ("JSON in JSON", |text| json(&in_json_of(text)).replace('\n', "\\n"));
    let in_form: Way = ("a form", |text| ESCAPES[6].1(text).replace("%20", "+"));
    for style in &STYLES {
        for way in
            [in_json, in_json_twice, in_form, ESCAPES[6], ESCAPES[9], ESCAPES[10], ESCAPES[13]]
        {
            for before in [0, 5, 11, 30] {
                assert_covered_in(style, "s3cr3t-v4lue", before, way);
            }
        }
    }
}

fn in_json_of(text: &str) -> String {
    json(text).replace('\n', "\\n")
}

#[test]
fn a_secret_is_found_in_a_dump_of_its_encoding() {
    let inner: [Digits; 3] = [
        ("as it is", lossy),
        ("base64", |bytes| STANDARD.encode(bytes)),
        ("UTF-16", |bytes| lossy(&bytes_of(&lossy(bytes), 2, true))),
    ];
    for style in &STYLES {
        for (name, encode) in inner {
            let dump = style.dump(encode(b"s3cr3t-v4lue").as_bytes());
            for (outer, text) in [("", dump.clone()), (" in base64", STANDARD.encode(&dump))] {
                let seen = shown(&["s3cr3t-v4lue"], &text);
                let names = (style.name, name, outer);
                // Of a dump, its offsets and padding are left.
                let is_covered = match outer {
                    "" => left(&seen) <= 24,
                    _ => seen.matches('*').count() >= 36,
                };
                assert!(is_covered, "{names:?}:\n{text}\n{seen}");
            }
        }
    }
}

#[test]
fn a_dump_without_secrets_is_unchanged() {
    let bytes: Vec<u8> =
        (0..4_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for style in &STYLES {
        let dump = style.dump(&bytes);
        assert_eq!(shown(&SECRETS, &dump), dump, "{}", style.name);
        let in_json = in_json_of(&dump);
        assert_eq!(shown(&SECRETS, &in_json), in_json, "{}", style.name);
    }
}

#[test]
fn a_long_dump_is_searched_in_pieces_that_overlap() {
    let secret = "s3cr3t-v4lue";
    for style in [&STYLES[0], &STYLES[6]] {
        for place in [0, 26_209, 26_217, 39_988] {
            let mut bytes = vec![b'~'; 40_000];
            bytes[place..place + secret.len()].copy_from_slice(secret.as_bytes());
            let seen = shown(&[secret], &style.dump(&bytes));
            assert!(seen.contains("****"), "{} {place}", style.name);
            assert!(seen.matches('*').count() < 200, "{} {place}", style.name);
        }
    }
}

fn numbers(bytes: &[u8], form: fn((usize, u8)) -> String, between: &str) -> String {
    bytes.iter().copied().enumerate().map(form).collect::<Vec<_>>().join(between)
}

const NUMBERS: [Digits; 11] = [
    ("JSON", |bytes| format!("[{}]", numbers(bytes, |(_, byte)| format!("{byte}"), ","))),
    ("Python", |bytes| format!("[{}]", numbers(bytes, |(_, byte)| format!("{byte}"), ", "))),
    ("Go", |bytes| format!("[{}]", numbers(bytes, |(_, byte)| format!("{byte}"), " "))),
    ("JSON in lines", |bytes| numbers(bytes, |(_, byte)| format!("{byte}"), ",\n    ")),
    ("lines of numbers", |bytes| numbers(bytes, |(_, byte)| format!("{byte:3}"), "\r\n")),
    ("with zeros", |bytes| numbers(bytes, |(_, byte)| format!("{byte:03}"), ";")),
    ("quoted", |bytes| numbers(bytes, |(_, byte)| format!("\"{byte}\""), ", ")),
    ("an object", |bytes| numbers(bytes, |(at, byte)| format!("\"{at}\":{byte}"), ",")),
    ("PHP", |bytes| numbers(bytes, |(at, byte)| format!("    [{}] => {byte}", at + 995), "\n")),
    ("octal", |bytes| numbers(bytes, |(_, byte)| format!("{byte:03o}"), " ")),
    ("as in C, in lines", |bytes| numbers(bytes, |(_, byte)| format!("0x{byte:02x}"), ",\n  ")),
];

#[test]
fn a_secret_is_found_in_numbers_that_are_escaped_or_not() {
    for (name, array) in NUMBERS {
        // No program writes these before digits.
        let closed = ESCAPES.into_iter().filter(|(way, _)| !OPEN.contains(way));
        for (way, escape) in closed.chain([("JSON in lines", in_json_of as fn(&str) -> String)]) {
            let text = escape(&format!("{{\"data\":<{}>}}", array(ODD.as_bytes())));
            let seen = shown(&[ODD], &text);
            // What stands before the first, and the offset of the first.
            let around = escape("{\"data\":<[\"995] => ").len() + escape("]\">}").len();
            let stars = seen.matches('*').count();
            assert!(stars + around + 8 >= text.len(), "{name} {way}:\n{text}\n{seen}");
        }
    }
}

#[test]
fn a_secret_is_found_in_numbers_of_digits_and_in_digits_of_numbers() {
    for (name, array) in NUMBERS {
        for (digits, encode) in DIGITS {
            for text in
                [array(encode(ODD.as_bytes()).as_bytes()), encode(array(ODD.as_bytes()).as_bytes())]
            {
                let seen = shown(&[ODD], &text);
                let stars = seen.matches('*').count();
                assert!(stars * 10 >= text.len() * 9, "{name} {digits}:\n{text}\n{seen}");
            }
        }
        let text = array(array(b"s3cr3t-v4lue").as_bytes());
        let seen = shown(&["s3cr3t-v4lue"], &text);
        assert!(seen.matches('*').count() * 10 >= text.len() * 8, "{name}:\n{text}\n{seen}");
    }
}

#[test]
fn numbers_without_secrets_are_unchanged() {
    let bytes: Vec<u8> =
        (0..4_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for (name, array) in NUMBERS {
        let text = array(&bytes);
        assert_eq!(shown(&SECRETS, &text), text, "{name}");
    }
    let almost = "[115, 51, 99, 114, 51, 116, 45, 118, 52, 108, 117] and 101; 371 0x73";
    assert_eq!(shown(&["s3cr3t-v4lue"], almost), almost);
}

#[test]
fn long_numbers_are_decoded_in_pieces_that_overlap() {
    let secret = "s3cr3t-v4lue";
    for place in [0, 32_700, 65_536, 65_724, 65_730, 131_000] {
        let mut bytes = vec![0xa7; 140_000];
        bytes[place..place + secret.len()].copy_from_slice(secret.as_bytes());
        let seen = shown(&[secret], &NUMBERS[0].1(&bytes));
        let written = NUMBERS[0].1(secret.as_bytes()).len() - 2;
        assert_eq!(seen.matches('*').count(), written, "{place}");
    }
}
