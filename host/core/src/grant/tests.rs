use std::collections::BTreeMap;

use super::*;

#[test]
fn imports_ask_for_capabilities() {
    let asked = |import: &str| Capability::asked_for(&[import.to_owned()]);
    assert_eq!(asked("wasi:http/outgoing-handler@0.2.6"), [Capability::Http]);
    assert_eq!(asked("extism:host/env.http_request"), [Capability::Http]);
    assert_eq!(asked("wasi:keyvalue/store@0.2.0-draft"), [Capability::KeyValue]);
    assert_eq!(asked("wasi:config/store@0.2.0-rc.1"), [Capability::Config]);
    assert_eq!(asked("jobwright.value_add"), [Capability::KeyValue]);
    assert_eq!(asked("jobwright.config_get"), [Capability::Config]);
    assert_eq!(asked("jobwright.http_send"), [Capability::Http]);
    assert_eq!(asked("jobwright.log"), []);
    assert_eq!(asked("wasi:http/types@0.2.0"), []);
}

fn grants(json: &str) -> Grants {
    serde_json::from_str(json).expect("grants")
}

#[test]
fn a_request_goes_where_one_grant_allows_origin_and_method() {
    let grants = grants(
        r#"{ "http": [
            { "origin": "https://api.example.com", "methods": ["GET", "PUT"] },
            { "origin": "http://*.example.org:8080" }
        ] }"#,
    );
    let allowed = |method: &str, to: &str| {
        let (method, to) = (method.parse().expect("a method"), to.parse().expect("a URI"));
        grants.allowing(&method, &to).next().is_some()
    };
    assert!(allowed("GET", "https://api.example.com/v1?q"));
    assert!(allowed("PUT", "https://API.example.com:443/"));
    assert!(allowed("DELETE", "http://a.example.org:8080/"));
    for (method, to) in [
        ("POST", "https://api.example.com/v1"),
        ("get", "https://api.example.com/v1"),
        ("GET", "http://api.example.com/v1"),
        ("GET", "https://api.example.com:8443/v1"),
        ("GET", "http://a.example.org/"),
    ] {
        assert!(!allowed(method, to), "{method} {to}");
    }
}

#[test]
fn misspelt_grants_are_refused() {
    for bad in [
        r#"{ "htp": [] }"#,
        r#"{ "http": [{ "origin": "https://a.example.com", "method": ["GET"] }] }"#,
        r#"{ "http": [{ "origin": "https://a.example.com", "methods": ["get"] }] }"#,
        r#"{ "secrets": ["A-B"] }"#,
        r#"{ "secrets": ["1A"] }"#,
        r#"{ "key_value": {} }"#,
        r#"{ "clock_precision_us": 0 }"#,
    ] {
        assert!(serde_json::from_str::<Grants>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_secret_is_seen_as_its_placeholder() {
    let grants = grants(r#"{ "env": { "A": "1" }, "secrets": ["API_KEY"] }"#);
    let seen: Vec<_> = grants.variables().collect();
    let placeholder = "jobwright-secret(API_KEY)".to_owned();
    assert_eq!(seen, [("A".into(), "1".into()), ("API_KEY".into(), placeholder)]);
}

#[test]
fn variables_of_a_job_override_those_of_grants_but_no_secret() {
    let grants = grants(r#"{ "env": { "A": "1", "B": "2" }, "secrets": ["KEY"] }"#);
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let job = BTreeMap::from([("B", "3"), ("C", "4"), ("KEY", "5")].map(text));
    let seen = [("A", "1"), ("B", "3"), ("C", "4"), ("KEY", "jobwright-secret(KEY)")];
    assert_eq!(grants.variables_under(&job), BTreeMap::from(seen.map(text)));
}
