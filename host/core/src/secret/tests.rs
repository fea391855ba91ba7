use super::*;
use crate::clock::Timestamp;

#[test]
fn a_value_consists_of_characters_that_are_valid_in_headers() {
    for good in ["12345678", "a b\"c\\d,e;f", &"x".repeat(MAX_VALUE_BYTES)] {
        assert!(SecretValue::try_from(good.to_owned()).is_ok(), "{good}");
    }
    for bad in
        ["", "1234567", "line\nbreak", " blank first", "blank last ", "tab\tinside", "schlüssel"]
    {
        assert!(SecretValue::try_from(bad.to_owned()).is_err(), "{bad}");
    }
    assert!(SecretValue::try_from("x".repeat(MAX_VALUE_BYTES + 1)).is_err());
}

#[test]
fn a_value_is_not_shown() {
    let value = SecretValue::try_from("hunter2hunter2".to_owned()).expect("a value");
    let secret = Secret { value, origins: vec![], created_at: Timestamp::UNIX_EPOCH };
    assert!(!format!("{secret:?}").contains("hunter2"));
    let error = SecretValue::try_from("hunter2\n".to_owned()).expect_err("a line break");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
