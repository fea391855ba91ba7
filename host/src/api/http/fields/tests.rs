use super::*;

fn of_json(text: &str) -> Result<Fields, ApiError> {
    Fields::of_json(text, "body")
}

fn of_query(query: &str) -> Fields {
    let uri = format!("/v1/jobs?{query}").parse().expect("a URI");
    Fields::of_query(super::super::pairs::pairs(&uri), &["arg"])
}

fn messages(fields: Fields) -> Vec<String> {
    fields
        .into_errors("is not a field")
        .iter()
        .map(|e| format!("{}: {}", e.field, e.message))
        .collect()
}

#[test]
fn every_invalid_field_is_named_and_the_known_ones_are_listed() {
    let text = r#"{"a":1,"b":"x","b":"y","c":null,"d":"5","more":0,"surprise":[1]}"#;
    let mut fields = of_json(text).unwrap();
    assert_eq!(fields.take::<String>("a", "a string"), None);
    assert_eq!(fields.take("b", "a string"), Some("x".to_owned()));
    assert_eq!(fields.take::<String>("c", "a string"), None);
    assert_eq!(fields.take::<u8>("d", "a number"), None);
    assert_eq!(
        messages(fields),
        [
            "b: is there twice",
            "a: expected a string, got `1`",
            "d: expected a number, got `\"5\"`",
            "more: is not a field; there are: a, b, c, d",
            "surprise: is not a field",
        ]
    );
}

#[test]
fn a_list_in_a_query_is_separated_by_commas() {
    let mut fields = of_query("causes=failed,%22time&inner.waits=1000,2e3&bad=1,x&empty=");
    let causes = vec!["failed".to_owned(), "\"time".to_owned()];
    assert_eq!(fields.change_list("causes", "a list"), Some(Some(causes)));
    let mut inner = fields.take_object("inner").flatten().unwrap();
    assert_eq!(inner.change_list("waits", "a list"), Some(Some(vec![1000_u64, 2000])));
    assert_eq!(fields.change_list::<Vec<u64>>("bad", "a list of numbers"), None);
    assert_eq!(
        fields.change_list::<Vec<String>>("empty", "a list"),
        Some(Some(vec![String::new()]))
    );
    assert_eq!(fields.change_list::<Vec<String>>("missing", "a list"), None);
    assert_eq!(messages(fields), [r#"bad: expected a list of numbers, got `[1,"x"]`"#]);
    let mut fields = of_json(r#"{"causes":"failed,time","waits":[1]}"#).unwrap();
    assert_eq!(fields.change_list::<Vec<String>>("causes", "a list"), None, "JSON has lists");
    assert_eq!(fields.change_list("waits", "a list"), Some(Some(vec![1])));
}

#[test]
fn raw_json_is_kept_unchanged() {
    let mut fields = of_json(r#"{"payload":{"n" : 1.50, "n":2e0}}"#).unwrap();
    assert_eq!(fields.take_raw("payload").unwrap().get(), r#"{"n" : 1.50, "n":2e0}"#);
}

#[test]
fn whole_numbers_are_accepted_in_every_notation() {
    let mut fields =
        of_json(r#"{"a":5000.0,"b":1e3,"c":9007199254740993.0,"d":[1.0,2e1]}"#).unwrap();
    assert_eq!(fields.take::<u64>("a", "n"), Some(5000));
    assert_eq!(fields.take::<u16>("b", "n"), Some(1000));
    assert_eq!(fields.take::<u64>("c", "n"), Some(9_007_199_254_740_993));
    assert_eq!(fields.take::<Vec<u8>>("d", "n"), Some(vec![1, 20]));
    assert!(fields.into_errors("").is_empty());
    let text = r#"{"a":0.5,"b":-1,"c":1e400,"d":1e-1,"e":"1e3","f":256.0,
        "g":99999999999999999999,"h":-99999999999999999999,"i":"x"}"#;
    let mut fields = of_json(text).unwrap();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        assert_eq!(fields.take::<u8>(name, "a whole number"), None, "{name}");
    }
    assert_eq!(
        messages(fields),
        [
            "a: expected a whole number, got `0.5`",
            "b: `-1` is negative: expected a whole number",
            "c: `1e400` is too large: expected a whole number",
            "d: expected a whole number, got `1e-1`",
            "e: expected a whole number, got `\"1e3\"`",
            "f: `256.0` is too large: expected a whole number",
            "g: `99999999999999999999` is too large: expected a whole number",
            "h: `-99999999999999999999` is negative: expected a whole number",
            "i: expected a whole number, got `\"x\"`",
        ]
    );
}

#[test]
fn other_json_than_an_object_is_refused() {
    for bad in ["", "[]", "7", "{\"a\":1}x", "{\"a\":}", "{"] {
        assert!(of_json(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped_only_at_the_start() {
    assert_eq!(utf8(b"\xef\xbb\xbf{}", "body").unwrap(), "{}");
    assert_eq!(utf8(b"\xef\xbb\xbf\xef\xbb\xbf{}", "body").unwrap(), "\u{feff}{}");
    assert_eq!(utf8("{}\u{feff}".as_bytes(), "body").unwrap(), "{}\u{feff}");
    for (bytes, detail) in [
        (&b"\xff\xfe{\0}\0"[..], "the body is UTF-16: send it as UTF-8"),
        (b"\xfe\xff\0{\0}", "the body is UTF-16: send it as UTF-8"),
        (b"{\"\xe4\"}", "the body is not valid UTF-8 at byte 3"),
    ] {
        assert_eq!(utf8(bytes, "body").unwrap_err().problem()["detail"], detail);
    }
}

#[test]
fn every_invalid_inner_field_is_named_with_its_object() {
    let text = r#"{"in":{"a":"x","a":1,"b":7,"c":1},"list":[],"none":null}"#;
    let mut fields = of_json(text).unwrap();
    let mut inner = fields.take_object("in").flatten().unwrap();
    assert_eq!(inner.take("a", "a string"), Some("x".to_owned()));
    assert_eq!(inner.take::<String>("b", "a string"), None);
    fields.absorb("in", inner, "is not one of these");
    assert!(fields.take_object("list").is_none());
    assert!(fields.take_object("none").is_some_and(|inner| inner.is_none()));
    assert_eq!(
        messages(fields),
        [
            "in.a: is there twice",
            "in.b: expected a string, got `7`",
            "in.c: is not one of these; there are: a, b",
            "list: is not an object",
        ]
    );
}

#[test]
fn a_query_has_the_same_fields() {
    let mut fields = of_query(
        "priority=1&limits.fuel=5&env.N=5&arg=7&arg=-x&name=5&on=true&n=1e3&m=007&exact=9007199254740993.0",
    );
    assert_eq!(fields.take::<u8>("priority", "a number"), Some(1));
    let mut limits = fields.take_object("limits").flatten().unwrap();
    assert_eq!(limits.take::<u64>("fuel", "a number"), Some(5));
    let mut env = fields.take_object("env").flatten().unwrap();
    assert_eq!(env.take::<String>("N", "a string"), Some("5".to_owned()));
    assert_eq!(fields.take::<Vec<String>>("args", "strings").unwrap(), ["7", "-x"]);
    assert_eq!(fields.take::<String>("name", "a string"), Some("5".to_owned()));
    assert_eq!(fields.take::<bool>("on", "true or false"), Some(true));
    assert_eq!(fields.take::<u64>("n", "a number"), Some(1000));
    assert_eq!(fields.take::<u64>("m", "a number"), Some(7));
    assert_eq!(fields.take::<u64>("exact", "a number"), Some(9_007_199_254_740_993));
    assert!(fields.into_errors("").is_empty());
}

#[test]
fn errors_of_a_query_show_the_given_values() {
    let mut fields = of_query("a=soon+or%20so&b=null&c=-1&x+y=1&arg=a+b&env.N=a+b&limit=1e+2");
    assert_eq!(fields.take::<u64>("a", "a number"), None);
    assert_eq!(fields.take::<u64>("b", "a number"), None);
    assert_eq!(fields.take::<u64>("c", "a number"), None);
    assert_eq!(fields.take::<Vec<u64>>("args", "numbers"), None);
    let mut env = fields.take_object("env").flatten().unwrap();
    assert_eq!(env.take::<u64>("N", "a number"), None);
    fields.absorb("env", env, "is not a variable");
    assert_eq!(fields.take::<u64>("limit", "a number"), Some(100));
    assert_eq!(
        messages(fields),
        [
            "a: expected a number, got `soon+or so`",
            "b: expected a number, got `null`",
            "c: `-1` is negative: expected a number",
            "args: expected numbers, got `[\"a b\"]` (in a query, `+` is a space: write %2B for a \
             plus sign)",
            "env.N: expected a number, got `a b` (in a query, `+` is a space: write %2B for a plus \
             sign)",
            "x y: is not a field; there are: a, b, c, arg, env.NAME, limit",
        ]
    );
}
