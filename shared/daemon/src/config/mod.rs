//! Reading a configuration so that its author learns every mistake at once, each with file, line, key and reason.
//!
//! A [`Document`] is the TOML file with environment variables laid over it. It hands out [`Section`]s, a section hands
//! out typed values with their defaults. Asking never fails: what is wrong is remembered, and [`Document::finish`] tells
//! it all, keys that nobody asked for included. Values of keys that look secret are never shown.

mod mistake;
mod tree;
mod value;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::Path;

use mistake::{Origin, nearest};
use tree::{Node, Table, Value};

pub use mistake::{Mistake, Mistakes};
pub use value::{Bounded, ByteSize, Setting, Written, parse_duration};

/// Exit code for wrong usage of the command line (sysexits.h `EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// Exit code of an agent fenced by a newer one; the service manager must not restart it (sysexits.h `EX_NOPERM`).
pub const EXIT_FENCED: u8 = 77;
/// Exit code for a bad configuration (sysexits.h `EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// Holds a configuration as written, and what its readers thought of it.
#[derive(Debug)]
pub struct Document {
    file: String,
    root: Node,
    reading: RefCell<Reading>,
}

/// What was asked for so far, by the section's dotted path, and what was wrong with it.
#[derive(Debug, Default)]
struct Reading {
    asked: BTreeMap<String, BTreeSet<String>>,
    mistakes: Vec<Mistake>,
}

impl Document {
    /// Reads the file, if there is one, and lays the environment over it: with the prefix `SKIDWAY_AGENT`, the variable
    /// `SKIDWAY_AGENT__HTTP__LISTEN` is key `http.listen`, and `SKIDWAY_AGENT__INPUTS__0__TOPIC` the topic of the first input.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML: one mistake.
    pub fn load(path: Option<&Path>, env_prefix: &str) -> Result<Self, Mistakes> {
        let variables = std::env::vars_os();
        let Some(path) = path else {
            return Self::parse("environment", "").map(|it| it.overlay(env_prefix, variables));
        };
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Mistakes::one(&file, Origin::Nowhere, format!("cannot be read: {error}")))?;
        Ok(Self::parse(&file, &text)?.overlay(env_prefix, variables))
    }

    /// Reads a text, which messages call `file`.
    ///
    /// # Errors
    /// A text that is not TOML: one mistake.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let root = Node { origin: Origin::Nowhere, value: Value::Table(tree::parse(file, text)?) };
        Ok(Self { file: file.to_owned(), root, reading: RefCell::default() })
    }

    /// Lays those of the variables over the document that start with the prefix and two underscores.
    #[must_use]
    pub fn overlay(mut self, prefix: &str, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let prefix = format!("{prefix}__");
        let mut ours = BTreeMap::new();
        for (name, text) in variables {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) {
                let path = name[prefix.len()..].to_ascii_lowercase().split("__").map(str::to_owned).collect();
                ours.insert(numbers_in_order(path), (name.to_owned(), text));
            }
        }
        for (path, (name, text)) in ours {
            let path: Vec<String> = path.into_iter().map(|(_, segment)| segment).collect();
            let origin = Origin::Variable(name);
            let put = text.to_str().ok_or_else(|| "is not UTF-8".to_owned()).and_then(|text| {
                let Value::Table(root) = &mut self.root.value else { return Err("has no table to go to".to_owned()) };
                tree::put(root, &path, &origin, text)
            });
            if let Err(reason) = put {
                self.note(&origin, path.join("."), reason);
            }
        }
        self
    }

    /// Gives the top of the document.
    pub fn section(&self) -> Section<'_> {
        Section { document: self, path: String::new(), node: Some(&self.root) }
    }

    /// Ends the reading. Keys that nobody asked for are mistakes too.
    ///
    /// # Errors
    /// Every mistake, in the order of the file.
    pub fn finish(self) -> Result<(), Mistakes> {
        self.find_unknown("", &self.root);
        Mistakes::check(self.reading.into_inner().mistakes)
    }

    /// Looks at each table that was read key by key; one that was read as a value has no keys of ours.
    fn find_unknown(&self, path: &str, node: &Node) {
        match &node.value {
            Value::Table(table) => self.find_unknown_in(path, table),
            Value::List(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    self.find_unknown(&join(path, &index.to_string()), entry);
                }
            }
            _ => {}
        }
    }

    fn find_unknown_in(&self, path: &str, table: &Table) {
        let Some(asked) = self.reading.borrow().asked.get(path).cloned() else { return };
        for (key, node) in table {
            if asked.contains(key) {
                self.find_unknown(&join(path, key), node);
                continue;
            }
            let meant = nearest(key, asked.iter().map(String::as_str));
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
            self.note(&node.origin, join(path, key), format!("unknown key{hint}"));
        }
    }

    fn note(&self, origin: &Origin, key: String, reason: String) {
        let mistake = Mistake { origin: origin.clone(), file: self.file.clone(), key, reason };
        self.reading.borrow_mut().mistakes.push(mistake);
    }
}

/// Has entry 10 of a list come after entry 9.
fn numbers_in_order(path: Vec<String>) -> Vec<(Option<u64>, String)> {
    path.into_iter().map(|segment| (segment.parse().ok(), segment)).collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Lends one table of a document, present or not: reading an absent table gives the defaults.
#[derive(Debug)]
pub struct Section<'d> {
    document: &'d Document,
    path: String,
    node: Option<&'d Node>,
}

impl<'d> Section<'d> {
    /// Tells whether the table was written at all.
    pub fn is_present(&self) -> bool {
        self.node.is_some()
    }

    /// Gives the table's dotted path, such as `inputs.0`; empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Gives the table at `key`.
    pub fn section(&self, key: &str) -> Section<'d> {
        let node = self.ask(key).filter(|node| self.is_table(key, node));
        Section::open(self.document, join(&self.path, key), node)
    }

    /// Gives the tables of the list at `key`, in order; none if it is absent.
    pub fn sections(&self, key: &str) -> Vec<Section<'d>> {
        let Some(node) = self.ask(key) else { return Vec::new() };
        let Value::List(entries) = &node.value else {
            self.unexpected(key, node, "a list of tables");
            return Vec::new();
        };
        let section = |(index, entry)| {
            let key = join(key, &format!("{index}"));
            self.is_table(&key, entry).then(|| Section::open(self.document, join(&self.path, &key), Some(entry)))
        };
        entries.iter().enumerate().filter_map(section).collect()
    }

    /// Gives the value at `key`, or the default if it is absent or wrong.
    pub fn get<T: Setting>(&self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Gives the value at `key`, or none if it is absent or wrong.
    pub fn optional<T: Setting>(&self, key: &str) -> Option<T> {
        let node = self.ask(key)?;
        let value = T::read(Written(&node.value));
        if value.is_none() {
            self.unexpected(key, node, &T::expected());
        }
        value
    }

    /// Gives the value at `key`; its absence is a mistake.
    pub fn required<T: Setting>(&self, key: &str) -> Option<T> {
        let value = self.optional(key);
        if self.lookup(key).is_none() {
            self.mistake(key, format!("is missing; expected {}", T::expected()));
        }
        value
    }

    /// Gives the value at `key`, or the default if it is absent, wrong or out of range.
    pub fn within<T: Bounded>(&self, key: &str, default: T, range: RangeInclusive<T>) -> T {
        let Some(value) = self.optional::<T>(key) else { return default };
        if range.contains(&value) {
            return value;
        }
        let (min, max) = (range.start().show(), range.end().show());
        self.mistake(key, format!("expected {min} to {max}, found {}", value.show()));
        default
    }

    /// Gives what the word at `key` stands for, or the default if it is absent or no such word.
    pub fn choice<T: Copy>(&self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let Some(node) = self.ask(key) else { return default };
        let word = Written(&node.value).text();
        if let Some((_, meaning)) = words.iter().find(|(name, _)| Some(*name) == word) {
            return *meaning;
        }
        let names: Vec<String> = words.iter().map(|(name, _)| format!("{name:?}")).collect();
        self.unexpected(key, node, &names.join(" or "));
        default
    }

    /// Remembers a mistake that only the reader can see. The key may be absent; `""` means the table itself.
    pub fn mistake(&self, key: &str, reason: impl Into<String>) {
        let place = self.lookup(key).or(self.node).map_or(&Origin::Nowhere, |node| &node.origin);
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        self.document.note(place, path, reason.into());
    }

    /// Makes a section and remembers that its keys are ours to know, even if none is asked for.
    fn open(document: &'d Document, path: String, node: Option<&'d Node>) -> Self {
        document.reading.borrow_mut().asked.entry(path.clone()).or_default();
        Self { document, path, node }
    }

    fn ask(&self, key: &str) -> Option<&'d Node> {
        let mut reading = self.document.reading.borrow_mut();
        reading.asked.entry(self.path.clone()).or_default().insert(key.to_owned());
        self.lookup(key)
    }

    fn lookup(&self, key: &str) -> Option<&'d Node> {
        match &self.node?.value {
            Value::Table(table) => table.get(key),
            _ => None,
        }
    }

    fn is_table(&self, key: &str, node: &Node) -> bool {
        let table = matches!(node.value, Value::Table(_));
        if !table {
            self.unexpected(key, node, "a table");
        }
        table
    }

    fn unexpected(&self, key: &str, node: &Node, expected: &str) {
        let found = if looks_secret(key) { kind(&node.value).to_owned() } else { describe(&node.value) };
        self.document.note(&node.origin, join(&self.path, key), format!("expected {expected}, found {found}"));
    }
}

fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["token", "key", "password", "passwd", "secret", "credential"].iter().any(|word| key.contains(word))
}

/// Shows a value that may be shown, shortened if it is long.
fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Untyped(text) if text.chars().count() > 60 => {
            format!("\"{}…\"", text.chars().take(60).collect::<String>().escape_debug())
        }
        Value::Text(text) | Value::Untyped(text) => format!("{text:?}"),
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => float.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Date(date) => format!("the date {date}"),
        Value::List(entries) => describe_holder("a list", entries.iter()),
        Value::Table(table) => describe_holder("a table", table.values()),
    }
}

/// Names the first entry that is no string, which is mostly what is wrong with a list or a table read as a value.
fn describe_holder<'a>(holder: &str, mut entries: impl Iterator<Item = &'a Node>) -> String {
    let misfit = entries.find(|entry| Written(&entry.value).text().is_none());
    misfit.map_or_else(|| holder.to_owned(), |entry| format!("{holder} that holds {}", kind(&entry.value)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Text(_) | Value::Untyped(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Date(_) => "a date",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
