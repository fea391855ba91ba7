//! Checks whether an output can be embedded in the JSON of a job: only if every JSON parser accepts it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The maximum nesting of an embedded output. Parsers commonly have a limit of 128, and the job adds one level.
const MAX_DEPTH: usize = 100;

/// `bytes` as JSON, unchanged, if every parser accepts it: without other bytes around it, unpaired surrogates,
/// numbers out of range, or deep nesting.
pub(super) fn embeddable(bytes: &[u8]) -> Option<Box<RawValue>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Validator { depth: MAX_DEPTH }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    serde_json::from_slice(bytes).ok()
}

/// Parses a value with all its strings and numbers without building it: a tree would need many times the memory
/// of its JSON.
#[derive(Clone, Copy)]
struct Validator {
    depth: usize,
}

impl Validator {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        depth.map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Validator {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Validator {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while list.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while object.next_key_seed(inner)?.is_some() {
            object.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_every_parser_accepts_is_embedded_unchanged() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        for good in
            ["null", "{ \"a\" : [1.50, -2, true] }", r#""\ud83e\udd80 \u0000""#, "1e300", &deep]
        {
            assert_eq!(embeddable(good.as_bytes()).expect(good).get(), good);
        }
    }

    #[test]
    fn json_that_some_parsers_refuse_is_not_embedded() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        let objects = "{\"a\":".repeat(MAX_DEPTH + 1) + "1" + &"}".repeat(MAX_DEPTH + 1);
        for bad in [
            "",
            " ",
            "{",
            "1 2",
            "[1]}",
            "1,\"state\":\"x\"",
            "NaN",
            "1e999",
            "[1,]",
            "\u{feff}1",
            r#""\ud800""#,
            r#""\udc00 \ud800""#,
            r#"{"\ud800":1}"#,
            "\"\n\"",
            &deep,
            &objects,
        ] {
            assert!(embeddable(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(embeddable(&[b'"', 0xff, b'"']).is_none());
    }
}
