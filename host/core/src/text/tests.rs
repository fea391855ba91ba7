use super::*;

#[test]
fn bytes_are_cut_between_characters() {
    let text = "aä€🦀z";
    for most in 0..=text.len() + 1 {
        let first = std::str::from_utf8(start(text.as_bytes(), most)).expect("whole characters");
        assert_eq!(first, &text[..text.floor_char_boundary(most)], "{most}");
    }
    // Bytes that are no text are cut where they are.
    assert_eq!(start(&[0xff; 9], 5), [0xff; 5]);
    assert_eq!(start(&[0x80; 9], 5), [0x80; 5]);
}

#[test]
fn a_quoted_value_is_escaped_once_and_only_where_it_must_be() {
    assert_eq!(shorten(r#"it's "a\b" é e\u{301} 👩‍👩"#), r#"it's "a\b" é e\u{301} 👩‍👩"#);
    assert_eq!(shorten("e\u{301}"), "e\u{301}");
    assert_eq!(shorten("a\n\u{1b}[2J\u{202e}\u{feff}"), "a\\n\\u{1b}[2J\\u{202e}\\u{feff}");
    assert_eq!(shorten(&"ä".repeat(80)), "ä".repeat(80));
    assert_eq!(shorten(&"ä".repeat(81)), "ä".repeat(80) + "…");
}

#[test]
fn an_excerpt_is_one_line_whatever_the_bytes_are() {
    assert_eq!(excerpt("one \"two\"\n".as_bytes(), 100), "one \"two\"\\n");
    assert_eq!(excerpt("ää".as_bytes(), 3), "ä…");
    assert_eq!(excerpt(b"a\xffb", 100), "a\u{fffd}b");
}
