use super::*;

fn parse(text: &str) -> Result<ExitCodes, String> {
    serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())
}

#[test]
fn codes_are_numbers_and_ranges_and_are_written_as_they_were_read() {
    let text = r#"{"succeed":[0,10,"20-29"],"retry":[1],"fail":[2],"snooze":["75-75",255]}"#;
    let codes = parse(text).expect("valid");
    for (code, meaning) in [
        (0, Some(Meaning::Succeed)),
        (20, Some(Meaning::Succeed)),
        (29, Some(Meaning::Succeed)),
        (30, None),
        (1, Some(Meaning::Retry)),
        (2, Some(Meaning::Fail)),
        (75, Some(Meaning::Snooze)),
        (-1, Some(Meaning::Snooze)),
        (256, None),
        (266, None),
    ] {
        assert_eq!(codes.meaning(code), meaning, "{code}");
    }
    let written = serde_json::to_string(&codes).expect("text");
    assert_eq!(written, text.replace("\"75-75\"", "75"));
    assert_eq!(parse(&written), Ok(codes));
    assert_eq!(parse(r#"{"succeed":[10.0]}"#), parse(r#"{"succeed":["10"]}"#));
    assert!(parse("{}").expect("valid").is_empty());
}

#[test]
fn invalid_and_ambiguous_exit_codes_are_refused() {
    for (text, why) in [
        (r#"{"succeed":[256]}"#, "`256` is not an exit code"),
        (r#"{"retry":[-1]}"#, "`-1` is not an exit code"),
        (r#"{"fail":["9-3"]}"#, "`9-3` is not an exit code"),
        (r#"{"fail":["two"]}"#, "`two` is not an exit code"),
        (r#"{"fail":[1.5]}"#, "`1.5` is not an exit code"),
        (r#"{"succeed":["1-5"],"snooze":[5]}"#, "exit code 5 is in both `succeed` and `snooze`"),
        (r#"{"pass":[1]}"#, "unknown field `pass`"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(why), "{error}");
    }
}
