use super::*;

#[test]
fn whole_numbers_are_accepted_in_every_notation() {
    for (written, digits) in [
        ("5000.0", "5000"),
        ("1e3", "1000"),
        ("1E+4", "10000"),
        ("1.50e1", "15"),
        ("120e-1", "12"),
        ("0.0001e4", "1"),
        ("0", "0"),
        ("-0.0", "0"),
        ("0e999999999999999999999", "0"),
        ("-2.0", "-2"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740993.0", "9007199254740993"),
        ("18446744073709551615.000", "18446744073709551615"),
        ("184467440737095516150e-1", "18446744073709551615"),
    ] {
        assert_eq!(Number::of(written), Number::Whole(digits.to_owned()), "{written}");
    }
}

#[test]
fn fractional_and_too_large_numbers_are_distinguished() {
    for fractional in ["0.5", "1e-1", "1.5e0", "123e-3", "1e-99999999999999999999"] {
        assert_eq!(Number::of(fractional), Number::Fractional, "{fractional}");
    }
    for large in [
        "1e400",
        "1e20",
        "123456789012345678901",
        "1e99999999999999999999",
        "18446744073709551616",
        "99999999999999999999",
        "-18446744073709551616.0",
    ] {
        assert_eq!(Number::of(large), Number::TooLarge, "{large}");
    }
}

#[test]
fn only_numbers_with_fraction_or_exponent_are_rewritten() {
    let json = r#"{"a":1e3,"1e3":[-2.0, 0.5 ,7],"s":"1e3 \" 2.0","n":null}"#;
    let expected = r#"{"a":1000,"1e3":[-2, 0.5 ,7],"s":"1e3 \" 2.0","n":null}"#;
    assert_eq!(plain(json), expected);
    for same in ["7", "\"1e3\"", "\"\\\\\"", "[1,-7]", "1e400", "true", ""] {
        assert_eq!(plain(same), same);
    }
}

#[test]
fn only_json_numbers_are_numbers() {
    for number in ["0", "-1", "1.5", "1e400", "12E+3"] {
        assert!(is_number(number), "{number}");
    }
    for other in ["", "-", "1.", "01", "+1", "1e", " 1", "1 ", "0x1", "1,2", "Infinity"] {
        assert!(!is_number(other), "{other}");
    }
}
