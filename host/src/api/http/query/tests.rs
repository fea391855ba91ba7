use super::*;

fn values(query: &str) -> Vec<(String, bool)> {
    let uri = format!("/v1/jobs?{query}").parse().expect("a URI");
    pairs(&uri).into_iter().map(|pair| (pair.value, pair.has_plus)).collect()
}

#[test]
fn a_plus_stays_a_plus_in_values_without_spaces() {
    for (query, value) in [
        ("version=1.0.0+b7", "1.0.0+b7"),
        ("version=1.0.0%2Bb7", "1.0.0+b7"),
        ("plugin=x@1.0.0+b7", "x@1.0.0+b7"),
        ("plugin=x%401.0.0+b7", "x@1.0.0+b7"),
        ("scheduled_at=2027-01-31T09:30:00+02:00", "2027-01-31T09:30:00+02:00"),
        ("scheduled_at=2027-01-31+09:30:00+02:00", "2027-01-31 09:30:00+02:00"),
        ("scheduled_at=2027-01-31%2009:30:00+02:00", "2027-01-31 09:30:00+02:00"),
        ("scheduled_at=2027-01-31+09:30:00Z", "2027-01-31 09:30:00Z"),
        ("limits.fuel=1e+09", "1e+09"),
        ("delay_ms=1e+3", "1e+3"),
        ("limit=1e%2B2", "1e+2"),
        ("queue=a+b", "a+b"),
    ] {
        assert_eq!(values(query), [(value.to_owned(), false)], "{query}");
    }
}

#[test]
fn a_plus_is_a_space_in_values_with_spaces() {
    for name in ["tag", "arg", "env.NAME"] {
        assert_eq!(values(&format!("{name}=a+b")), [("a b".to_owned(), true)]);
        assert_eq!(values(&format!("{name}=a%2Bb")), [("a+b".to_owned(), false)]);
    }
    assert_eq!(values("arg=%20"), [(" ".to_owned(), false)]);
    assert_eq!(values("&&a+b&"), [(String::new(), false)]);
}
