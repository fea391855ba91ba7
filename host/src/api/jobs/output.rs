//! Outputs that may stand in a job's JSON: those that cannot break it for anyone who reads it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest that an embedded output may nest; parsers commonly stop at 128, and the job around it
/// takes one.
const MAX_DEPTH: usize = 100;

/// The JSON text that these bytes are, as it is written, if every parser reads it: nothing before or
/// after it, no halves of characters, no number out of range, not nested too deep.
pub(super) fn embeddable(bytes: &[u8]) -> Option<Box<RawValue>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Plain { depth: MAX_DEPTH }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    serde_json::from_slice(bytes).ok()
}

/// Reads a value with all its texts and numbers, and keeps nothing: an output in memory as a tree
/// would take many times its length.
#[derive(Clone, Copy)]
struct Plain {
    depth: usize,
}

impl Plain {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        depth.map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
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
    fn what_every_parser_reads_is_embedded_as_it_is_written() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        for good in
            ["null", "{ \"a\" : [1.50, -2, true] }", r#""\ud83e\udd80 \u0000""#, "1e300", &deep]
        {
            assert_eq!(embeddable(good.as_bytes()).expect(good).get(), good);
        }
    }

    #[test]
    fn what_some_parser_refuses_is_not_embedded() {
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
