//! Members of JSON values as they were written, and what a column takes of them. Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::Kind;
use super::leaf::Leaf;

/// Says how much of a value a column took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// All of it.
    All,
    /// Not every digit.
    Most,
    /// Nothing: the column is of another type.
    Nothing,
}

/// Is text, borrowed unless it had escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

/// Holds the members of an object in their order.
struct Members<'j>(Vec<(Cow<'j, str>, &'j str)>);

impl<'j> Deserialize<'j> for Members<'j> {
    fn deserialize<D: Deserializer<'j>>(input: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'j> Visitor<'j> for Collect {
            type Value = Members<'j>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'j>, &'j RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }
        input.deserialize_map(Collect)
    }
}

/// Gives the members of a JSON object, each with its value as it was written; `None` of anything else.
pub(super) fn members(value: &[u8]) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let is_object = value.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice::<Members<'_>>(value).ok())?.map(|Members(members)| members)
}

/// Finds what a value has at the rest of a JSON pointer.
pub(super) fn find<'j>(json: &'j str, pointer: &[String]) -> Option<&'j str> {
    let Some((name, rest)) = pointer.split_first() else { return Some(json) };
    let found = match json.as_bytes().first()? {
        b'{' => {
            serde_json::from_str::<HashMap<Text<'j>, &'j RawValue>>(json).ok()?.remove(&Text(name.as_str().into()))?
        }
        b'[' => *serde_json::from_str::<Vec<&'j RawValue>>(json).ok()?.get(name.parse::<usize>().ok()?)?,
        _ => return None,
    };
    find(found.get(), rest)
}

/// Puts a value into a column of this type, if it is of that type.
pub(super) fn put(leaf: &mut Leaf, kind: Kind, json: &str) -> Took {
    // Absent and null are one, but for text that is JSON itself.
    if json == "null" && kind != Kind::Json {
        return Took::All;
    }
    match kind {
        Kind::String => match serde_json::from_str::<Text<'_>>(json) {
            Ok(Text(text)) => leaf.push_bytes(text.as_bytes()),
            Err(_) => return Took::Nothing,
        },
        Kind::Json => leaf.push_bytes(json.as_bytes()),
        Kind::Boolean if json == "true" || json == "false" => leaf.push_bool(json == "true"),
        Kind::Long => match json.parse() {
            Ok(number) => leaf.push_long(number),
            Err(_) => return Took::Nothing,
        },
        Kind::Double => match double(json) {
            Some(number) => leaf.push_double(number),
            None => return Took::Nothing,
        },
        Kind::Timestamp => return put_time(leaf, json),
        Kind::Boolean => return Took::Nothing,
    }
    Took::All
}

/// Reads a number. Whole ones have to be exact; fractions are rounded as every reader of JSON rounds them.
fn double(json: &str) -> Option<f64> {
    let number: f64 = json.parse().ok().filter(|number: &f64| number.is_finite())?;
    let is_whole = !json.contains(['.', 'e', 'E']);
    // Below 2^53 every whole number is a double; above it has to come back as it was written.
    let is_exact = || number.abs() < 9_007_199_254_740_992.0 || format!("{number:.0}") == json;
    (!is_whole || is_exact()).then_some(number)
}

fn put_time(leaf: &mut Leaf, json: &str) -> Took {
    if let Ok(ms) = json.parse::<i64>() {
        let Some(us) = ms.checked_mul(1000) else { return Took::Nothing };
        leaf.push_long(us);
        return Took::All;
    }
    let Ok(Text(text)) = serde_json::from_str::<Text<'_>>(json) else { return Took::Nothing };
    let Ok(time) = text.parse::<Timestamp>() else { return Took::Nothing };
    leaf.push_long(time.as_microsecond());
    if time.subsec_nanosecond() % 1000 == 0 { Took::All } else { Took::Most }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::parquet::leaf::Values;
    use crate::sink::parquet::{Field, Table};
    use parquet::schema::types::SchemaDescriptor;

    fn leaf(kind: Kind) -> Leaf {
        let table = Table::new(&[], Some(&[Field::of_member("x", kind)])).unwrap();
        // After the two for values that are no objects.
        Leaf::new(&SchemaDescriptor::new(table.schema.clone()).column(2)).unwrap()
    }

    #[test]
    fn members_are_given_as_they_were_written() {
        let found = members(b" {\"a\": 1.50, \"b\\n\":{\"x\":[ ]}, \"a\":null} ").unwrap();
        let expected = [("a", "1.50"), ("b\n", "{\"x\":[ ]}"), ("a", "null")];
        assert_eq!(found, expected.map(|(name, json)| (Cow::Borrowed(name), json)));
        for other in [&b"[1]"[..], b"\"x\"", b"{\"a\":1", b"{\"a\":1} x", b"{\"a\":\"\xff\"}", b"", b"{a:1}"] {
            assert_eq!(members(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn pointers_lead_into_objects_and_lists() {
        let json = r#"{"a/b":[10,{"c":true}],"d":"x"}"#;
        let find = |pointer: &[&str]| find(json, &pointer.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(find(&["a/b", "1", "c"]), Some("true"));
        assert_eq!(find(&["a/b", "0"]), Some("10"));
        assert_eq!(find(&[]), Some(json));
        assert_eq!((find(&["a/b", "2"]), find(&["d", "x"]), find(&["e"])), (None, None, None));
    }

    #[test]
    fn a_column_takes_values_of_its_type_alone() {
        let cases = [
            (Kind::String, r#""a\u00e4""#, Took::All),
            (Kind::String, r#""\ud800""#, Took::Nothing),
            (Kind::String, "1", Took::Nothing),
            (Kind::Long, "-12", Took::All),
            (Kind::Long, "1.0", Took::Nothing),
            (Kind::Long, "9223372036854775808", Took::Nothing),
            (Kind::Double, "1", Took::All),
            (Kind::Double, "0.1", Took::All),
            (Kind::Double, "9007199254740992", Took::All),
            (Kind::Double, "9007199254740993", Took::Nothing),
            (Kind::Double, "1e400", Took::Nothing),
            (Kind::Double, "\"1\"", Took::Nothing),
            (Kind::Boolean, "true", Took::All),
            (Kind::Boolean, "0", Took::Nothing),
            (Kind::Timestamp, r#""2026-11-22T10:05:00.000001+01:00""#, Took::All),
            (Kind::Timestamp, r#""2026-11-22T10:05:00.0000001Z""#, Took::Most),
            (Kind::Timestamp, r#""yesterday""#, Took::Nothing),
            (Kind::Timestamp, "1700000000000", Took::All),
            (Kind::Timestamp, "9223372036854775807", Took::Nothing),
            (Kind::Json, "{\"a\": 1}", Took::All),
            (Kind::Json, "null", Took::All),
            (Kind::Long, "null", Took::All),
        ];
        for (kind, json, took) in cases {
            assert_eq!(put(&mut leaf(kind), kind, json), took, "{kind:?} of {json}");
        }
        let mut leaf = leaf(Kind::Timestamp);
        put(&mut leaf, Kind::Timestamp, r#""2026-11-22T10:05:00.000001+01:00""#);
        assert!(matches!(leaf.parts().2, Values::Long(times) if *times == [1_795_338_300_000_001]));
    }
}
