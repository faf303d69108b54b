//! The written configuration as a tree whose every value knows where it was written.
//!
//! The file's TOML comes first; environment variables then replace or add single values. Nothing is interpreted here.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistakes, Origin};

/// Holds a value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// Holds what was written.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// From the environment, where everything is text: what it means depends on who asks.
    Untyped(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// TOML's dates, as text. No key of ours takes one.
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

/// Holds a table's entries by key.
pub(super) type Table = BTreeMap<String, Node>;

/// Parses a file's text.
///
/// # Errors
/// The one mistake that makes it not TOML.
pub(super) fn parse(file: &str, text: &str) -> Result<Table, Mistakes> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        let origin = error.span().map_or(Origin::Nowhere, |span| lines.of(&span));
        Mistakes::one(file, origin, format!("not TOML: {}", error.message().replace('\n', "; ")))
    })?;
    Ok(lines.table(table.get_ref()))
}

/// Parses a TOML value standing alone, as it may be written in an environment variable.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    let mut node = Lines::new("").node(Origin::Nowhere, value.get_ref());
    node.set_origin(origin);
    Some(node.value)
}

impl Node {
    fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.set_origin(origin)),
            Value::Table(table) => table.values_mut().for_each(|node| node.set_origin(origin)),
            _ => {}
        }
    }
}

/// Finds the line of a byte.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let after_line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_line_ends).collect() }
    }

    fn of(&self, span: &Range<usize>) -> Origin {
        Origin::Line(self.starts.partition_point(|start| *start <= span.start))
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let node = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            (name.to_string(), self.node(self.of(&key.span()), value.get_ref()))
        };
        table.iter().map(node).collect()
    }

    fn node(&self, origin: Origin, value: &DeValue<'_>) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                Err(_) => Value::Text(integer.to_string()),
            },
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(values) => {
                Value::List(values.iter().map(|value| self.node(self.of(&value.span()), value.get_ref())).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { origin, value }
    }
}

/// Puts an environment variable's value in its place: `["http", "listen"]` is key `listen` of table `http`, a number is
/// an entry of a list, the number after the last one adds an entry.
///
/// # Errors
/// Why the path leads nowhere.
pub(super) fn put(table: &mut Table, path: &[String], origin: &Origin, text: &str) -> Result<(), String> {
    let (key, rest) = path.split_first().ok_or("names no key")?;
    if rest.is_empty() {
        table.insert(key.clone(), Node { origin: origin.clone(), value: Value::Untyped(text.to_owned()) });
        return Ok(());
    }
    let made = || if is_index(&rest[0]) { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
    let node = table.entry(key.clone()).or_insert_with(|| Node { origin: origin.clone(), value: made() });
    match &mut node.value {
        Value::Table(inner) => put(inner, rest, origin, text),
        Value::List(entries) => put_entry(entries, key, rest, origin, text),
        _ => Err(format!("{key} is no table in the file, so it has no {}", rest.join("."))),
    }
}

fn put_entry(entries: &mut Vec<Node>, list: &str, path: &[String], origin: &Origin, text: &str) -> Result<(), String> {
    let count = entries.len();
    let (index, rest) = path.split_first().ok_or("names no entry")?;
    let index: usize = index.parse().map_err(|_| format!("expected a number after {list}, found {index:?}"))?;
    if index > count {
        return Err(format!("{list} has {count} entries; the next one is number {count}"));
    }
    if rest.is_empty() {
        let node = Node { origin: origin.clone(), value: Value::Untyped(text.to_owned()) };
        entries.splice(index..count.min(index + 1), [node]);
        return Ok(());
    }
    if index == count {
        entries.push(Node { origin: origin.clone(), value: Value::Table(Table::new()) });
    }
    match &mut entries[index].value {
        Value::Table(inner) => put(inner, rest, origin, text),
        _ => Err(format!("{list}.{index} is no table in the file")),
    }
}

fn is_index(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_digit())
}
