use super::*;

fn key(value: &str) -> Option<String> {
    let value = value.parse().expect("a header's value");
    of_headers(&HeaderMap::from_iter([("idempotency-key".parse().unwrap(), value)])).ok()?
}

#[test]
fn a_key_is_the_same_with_and_without_quotes() {
    for (value, expected) in [
        ("q", "q"),
        ("\"q\"", "q"),
        ("  \"q\" ; v=1", "q"),
        (r#""a \"b\" \\c""#, r#"a "b" \c"#),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (r#"it's "quoted""#, r#"it's "quoted""#),
    ] {
        assert_eq!(key(value).as_deref(), Some(expected), "{value}");
    }
    for bad in ["", "\"\"", "\"q", "\"q\\", r#""q\n""#, r#""q" r"#, "a\tb", &"x".repeat(256)] {
        assert_eq!(key(bad), None, "{bad}");
    }
    assert!(key(&format!("\"{}\"", "x".repeat(255))).is_some());
}

#[test]
fn two_keys_are_invalid() {
    let headers = [("idempotency-key", "a"), ("idempotency-key", "a")];
    let headers = headers
        .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()));
    let error = of_headers(&HeaderMap::from_iter(headers)).expect_err("which one counts?");
    assert_eq!(error.problem()["code"], "invalid_idempotency_key");
    assert_eq!(of_headers(&HeaderMap::new()).expect("none is fine"), None);
}

#[test]
fn a_job_is_the_same_with_its_key_in_the_header_and_in_a_field() {
    let plain = r#"{"plugin": "n", "payload": {"a": [1.0]}}"#;
    for with_key in [
        r#"{"plugin": "n", "payload": {"a": [1.0]}, "idempotency_key": "k"}"#,
        r#"{"plugin": "n", "idempotency_key": "k", "payload": {"a": [1.0]}}"#,
        r#"{"idempotency_key" : "k", "plugin": "n", "payload": {"a": [1.0]}}"#,
    ] {
        assert_eq!(without_key(with_key.as_bytes()), plain.as_bytes(), "{with_key}");
        assert_eq!(of_job(with_key), of_job(plain));
    }
    for as_it_is in [plain, "no JSON", r#"{"payload": {"idempotency_key": "k"}}"#, "[1]"] {
        assert_eq!(without_key(as_it_is.as_bytes()), as_it_is.as_bytes());
    }
}
