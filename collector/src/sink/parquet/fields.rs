//! Which members of JSON values have columns, and of which type. Pure.
//!
//! What is learned is only added to: a column's type never changes, so that all files of a sink can be read together by name.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::members::members;
use crate::json::Column;

/// Columns that one file may have of learned members; what comes after is in `_rest`.
const FIELDS_MAX: usize = 200;

/// Columns that all files of one sink may have together.
const NAMES_MAX: usize = 1000;

/// Bounds a learned column's name.
const NAME_BYTES_MAX: usize = 120;

/// Is what is left of a JSON object.
pub(super) const REST: &str = "_rest";

/// Is a column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Long,
    /// A number of 64 bits.
    Double,
    /// True or false.
    Boolean,
    /// A time in microseconds: text as RFC 3339 writes it, or milliseconds since 1970.
    Timestamp,
    /// Anything, as it was written.
    Json,
}

/// Is a column that a member of JSON values fills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Where its value is: a JSON pointer (RFC 6901).
    pub from: String,
}

/// Keeps every column's name and type, for all topics of one sink.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeMap<String, Field>>);

/// Learns what columns the next files of one partition have.
pub(in crate::sink) struct Learning {
    names: Arc<Names>,
    fields: Vec<Field>,
    /// Where these are from, without the slash.
    known: HashSet<String>,
    /// Members that have no column yet, with the order in which they were seen.
    seen: HashMap<String, (usize, Kind)>,
}

impl Kind {
    /// Lists all, with the names that configurations use.
    pub const ALL: [(&'static str, Self); 6] = [
        ("string", Self::String),
        ("long", Self::Long),
        ("double", Self::Double),
        ("boolean", Self::Boolean),
        ("timestamp", Self::Timestamp),
        ("json", Self::Json),
    ];

    /// Tells the type of a JSON value; none of `null`.
    fn of(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'"' => Some(Self::String),
            b't' | b'f' => Some(Self::Boolean),
            b'{' | b'[' => Some(Self::Json),
            b'n' => None,
            _ if json.parse::<i64>().is_ok() => Some(Self::Long),
            _ => Some(Self::Double),
        }
    }
}

impl Field {
    /// Makes the column of a top-level member. One that is named like a column of the record itself gets `value_` before its name.
    pub fn of_member(member: &str, kind: Kind) -> Self {
        let name = if is_taken(member) { format!("value_{member}") } else { member.to_owned() };
        Self { name, kind, from: pointer(member) }
    }
}

/// Gives the JSON pointer of a top-level member.
pub(in crate::sink) fn pointer(member: &str) -> String {
    format!("/{}", escaped(member))
}

fn escaped(member: &str) -> Cow<'_, str> {
    if member.contains(['~', '/']) { member.replace('~', "~0").replace('/', "~1").into() } else { member.into() }
}

/// Tells whether a column of the record itself has this name, or may have: to most readers upper and lower case are one.
pub(in crate::sink) fn is_taken(name: &str) -> bool {
    let name = name.to_lowercase();
    let column = name.strip_suffix("_binary").unwrap_or(&name);
    Column::named(column).is_some() || [REST, "headers_json"].contains(&name.as_str())
}

/// Tells whether a member's name can be a column's: some readers refuse spaces and brackets.
fn is_plain(member: &str) -> bool {
    let is_odd = |c: char| c.is_control() || " ,;{}()=`\"".contains(c);
    (1..=NAME_BYTES_MAX).contains(&member.len()) && !member.contains(is_odd)
}

impl Names {
    /// Begins with what earlier files have.
    pub fn new<'f>(fields: impl IntoIterator<Item = &'f Field>) -> Self {
        let names = Self::default();
        fields.into_iter().for_each(|field| _ = names.settle(field.clone()));
        names
    }

    /// Gives the column as it is to be: of the type that came first. None if another member has its name, or there are too many.
    fn settle(&self, field: Field) -> Option<Field> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = field.name.to_lowercase();
        match names.get(&key) {
            Some(known) => (known.name == field.name && known.from == field.from).then(|| known.clone()),
            None if names.len() >= NAMES_MAX => None,
            None => Some(names.entry(key).or_insert(field).clone()),
        }
    }
}

impl Learning {
    /// Goes on with what the partition's files have.
    pub(in crate::sink) fn new(names: Arc<Names>, fields: Vec<Field>) -> Self {
        let mut learning = Self { names, fields: Vec::new(), known: HashSet::new(), seen: HashMap::new() };
        fields.into_iter().for_each(|field| learning.add(field));
        learning
    }

    /// Gives the columns that files have.
    pub(in crate::sink) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Notes the members of a value, if it is a JSON object.
    pub(in crate::sink) fn look_at(&mut self, value: Option<&[u8]>) {
        let members = value.and_then(members).unwrap_or_default();
        members.iter().for_each(|(member, json)| self.note(member, json));
    }

    /// Notes a member, if it has no column.
    pub(super) fn note(&mut self, member: &str, json: &str) {
        if self.known.contains(&*escaped(member)) {
            return;
        }
        let Some(kind) = Kind::of(json) else { return };
        if let Some((_, seen)) = self.seen.get_mut(member) {
            if (*seen, kind) == (Kind::Long, Kind::Double) {
                *seen = Kind::Double;
            }
            return;
        }
        let order = self.seen.len();
        if self.fields.len() + order < FIELDS_MAX && is_plain(member) {
            self.seen.insert(member.to_owned(), (order, kind));
        }
    }

    fn add(&mut self, field: Field) {
        if self.known.insert(field.from.strip_prefix('/').unwrap_or_default().to_owned()) {
            self.fields.push(field);
        }
    }

    /// Gives columns to what was noted: files opened from now on have them.
    pub(in crate::sink) fn settle(&mut self) {
        let mut seen: Vec<(String, (usize, Kind))> = self.seen.drain().collect();
        seen.sort_by_key(|(_, (order, _))| *order);
        for (member, (_, kind)) in seen {
            let field = self.names.settle(Field::of_member(&member, kind));
            field.into_iter().for_each(|field| self.add(field));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(learning: &mut Learning, members: &[(&str, &str)]) -> Vec<(String, Kind)> {
        members.iter().for_each(|(member, json)| learning.note(member, json));
        learning.settle();
        learning.fields().iter().map(|field| (field.name.clone(), field.kind)).collect()
    }

    #[test]
    fn the_type_seen_first_wins_and_whole_numbers_give_way_to_others() {
        let mut learning = Learning::new(Arc::default(), Vec::new());
        let members =
            [("s", "\"x\""), ("n", "1"), ("s", "1"), ("n", "1.5"), ("b", "true"), ("j", "[]"), ("none", "null")];
        let found = learned(&mut learning, &members);
        let expected = [("s", Kind::String), ("n", Kind::Double), ("b", Kind::Boolean), ("j", Kind::Json)];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn partitions_agree_on_names_and_types_whatever_comes_first_in_each() {
        let names = Arc::new(Names::default());
        let (mut one, mut two) = (Learning::new(names.clone(), Vec::new()), Learning::new(names, Vec::new()));
        assert_eq!(learned(&mut one, &[("a", "1")]), [("a".to_owned(), Kind::Long)]);
        assert_eq!(learned(&mut two, &[("a", "\"x\""), ("A", "1")]), [("a".to_owned(), Kind::Long)]);
    }

    #[test]
    fn members_named_like_the_records_columns_get_names_of_their_own() {
        let mut learning = Learning::new(Arc::default(), Vec::new());
        let names = ["Timestamp", "value_binary", "_rest", "headers_json", "level", "two words", ""];
        let found = learned(&mut learning, &names.map(|name| (name, "1")));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["value_Timestamp", "value_value_binary", "value__rest", "value_headers_json", "level"]);
    }

    #[test]
    fn there_are_only_so_many_columns() {
        let mut learning = Learning::new(Arc::default(), Vec::new());
        for member in 0..FIELDS_MAX + 50 {
            learning.note(&format!("m{member}"), "1");
        }
        learning.settle();
        learning.note("one more", "1");
        learning.settle();
        assert_eq!(learning.fields().len(), FIELDS_MAX);
        assert!(learning.fields().iter().all(|field| field.name != "one more"));
    }
}
