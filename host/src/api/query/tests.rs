use super::*;

fn values(query: &str) -> Vec<(String, bool)> {
    let uri = format!("/v1/jobs?{query}").parse().expect("a URI");
    pairs(&uri).into_iter().map(|pair| (pair.value, pair.has_plus)).collect()
}

#[test]
fn a_plus_is_a_plus_where_no_space_can_be() {
    for (query, value) in [
        ("version=1.0.0+b7", "1.0.0+b7"),
        ("version=1.0.0%2Bb7", "1.0.0+b7"),
        ("plugin=x@1.0.0+b7", "x@1.0.0+b7"),
        ("plugin=x%401.0.0+b7", "x@1.0.0+b7"),
        ("scheduled_at=2027-01-31T09:30:00+02:00", "2027-01-31T09:30:00+02:00"),
        ("scheduled_at=2027-01-31+09:30:00+02:00", "2027-01-31 09:30:00+02:00"),
        ("scheduled_at=2027-01-31%2009:30:00+02:00", "2027-01-31 09:30:00+02:00"),
        ("scheduled_at=2027-01-31+09:30:00Z", "2027-01-31 09:30:00Z"),
    ] {
        assert_eq!(values(query), [(value.to_owned(), false)], "{query}");
    }
}

#[test]
fn a_plus_elsewhere_is_a_space_and_remembered() {
    assert_eq!(values("tag=a+b"), [("a b".to_owned(), true)]);
    assert_eq!(values("queue=a%2Bb&arg=%20"), [("a+b".to_owned(), false), (" ".to_owned(), false)]);
    assert_eq!(values("&&a+b&"), [(String::new(), false)]);
}
