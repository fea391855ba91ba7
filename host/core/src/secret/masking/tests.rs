use super::*;

fn covered(secrets: &[&str], text: &str) -> String {
    let mut mask = Mask::default();
    for secret in secrets {
        mask.add_secret(&secret.to_string().try_into().expect("a value"));
    }
    let mut bytes = text.as_bytes().to_vec();
    mask.cover(&mut bytes);
    String::from_utf8(bytes).expect("text")
}

#[test]
fn every_occurrence_is_covered_in_its_length() {
    assert_eq!(covered(&["12345678"], "12345678 a 1234567 1234567812345678"), {
        "******** a 1234567 ****************"
    });
    assert_eq!(covered(&[], "12345678"), "12345678");
}

#[test]
fn secrets_that_overlap_are_covered_both() {
    assert_eq!(covered(&["abcdefgh", "efghijkl"], "<abcdefghijkl>"), "<************>");
    assert_eq!(covered(&["abcdefgh", "abcdefghijkl"], "<abcdefghijkl>"), "<************>");
}

#[test]
fn a_secret_is_found_as_json_writes_it() {
    assert_eq!(covered(&[r#"a"b\c/def"#], r#"{"k":"a\"b\\c/def"}"#), { r#"{"k":"***********"}"# });
    assert_eq!(covered(&["abc/defgh"], r#"{"k":"abc\/defgh"}"#), r#"{"k":"**********"}"#);
}

/// One who writes all that is no letter or digit in his own way.
fn writes(text: &str, way: impl Fn(char) -> String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.chars().map(|c| if plain(c) { c.to_string() } else { way(c) }).collect()
}

const WAYS: [fn(char) -> String; 8] = [
    |c| c.to_string(),
    |c| format!("\\{c}"),
    |c| format!("\\u{:04X}", u32::from(c)),
    |c| format!("\\u{:04x}", u32::from(c)),
    |c| format!("%{:02X}", u32::from(c)),
    |c| format!("%{:02x}", u32::from(c)),
    |c| format!("&#{};", u32::from(c)),
    |c| format!("&#x{:X};", u32::from(c)),
];

#[test]
fn a_secret_is_found_however_each_byte_of_it_is_written() {
    let secret = r#"a+b"c&d<e>f'g/h\i j%41k"#;
    for way in WAYS {
        let text = writes(secret, way);
        let all = format!("<{text}> {text}\\{text}");
        let stars = "*".repeat(text.len());
        let seen = covered(&[secret], &all);
        assert!(seen.starts_with(&format!("<{stars}> {stars}")), "{text}: {seen}");
        assert!(seen.ends_with(&stars) && seen.len() == all.len(), "{text}: {seen}");
    }
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    assert_eq!(covered(&[secret], &html), "*".repeat(html.len()));
}

#[test]
fn a_secret_is_found_behind_what_might_be_an_escape() {
    for before in ["%", "\\", "\\u00", "&", "&#", "+"] {
        let seen = covered(&["41424344;"], &format!("{before}41424344;"));
        assert!(seen.ends_with("*********"), "{seen}");
    }
}

#[test]
fn a_secret_within_base64_is_found_wherever_it_begins() {
    use base64::engine::general_purpose::STANDARD;
    let secret = "s3cr3t>v4lue?";
    for before in ["", "a", "ab", "abc", "abcd"] {
        for after in ["", "x", "xy", "xyz"] {
            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            for way in WAYS {
                let seen = covered(&[secret], &format!("<{}>", writes(&encoded, way)));
                // What is left is of the text around it alone, or the end of it.
                let left = seen.trim_matches(['<', '>']).split('*').collect::<String>();
                let of_others = before.len() * 8 / 6 + (after.len() * 8).div_ceil(6);
                let escaped = way('=').len() * 2;
                assert!(left.len() <= of_others + escaped, "{before} {after}: {seen}");
            }
        }
    }
}

#[test]
fn a_text_that_takes_too_long_to_search_is_covered_whole() {
    let (secret, text) = (format!("{}b", "a".repeat(4000)), "a".repeat(200_000));
    assert_eq!(covered(&[&secret], &text), "*".repeat(text.len()));
    let text = "aaaa ".repeat(1000);
    assert_eq!(covered(&[&secret], &text), text);
}

#[test]
fn headers_are_covered_too_and_their_names() {
    let mut mask = Mask::default();
    mask.add_secret(&"S3cretValue".to_owned().try_into().expect("a value"));
    let mut headers = HeaderMap::new();
    headers.insert("x-echo", HeaderValue::from_static("Bearer S3cretValue"));
    headers.insert("x-s3cretvalue", HeaderValue::from_static("1"));
    headers.insert("x-else", HeaderValue::from_static("kept"));
    mask.cover_headers(&mut headers);
    assert_eq!(headers["x-echo"], "Bearer ***********");
    assert_eq!((headers.len(), &headers["x-else"]), (2, &HeaderValue::from_static("kept")));
}
