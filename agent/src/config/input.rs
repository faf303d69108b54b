//! One input: a set of files that are treated alike.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use globset::GlobBuilder;
use regex::bytes::Regex;
use skidway_daemon::config::{ByteSize, Section};
use skidway_record::limits::LINE_BYTES_PER_BATCH;

use super::template::Template;
use crate::frame::container::Container;
use crate::frame::encoding::Encoding;
use crate::frame::lines::LongLines;
use crate::frame::multiline::{Multiline, PRESETS, Rule};

/// Holds one table of `[[inputs]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// `name`: known to the collector for ever. Default: the topic as written.
    pub name: String,
    /// `include`: globs of absolute paths; `*` stays within a folder, `**` crosses them.
    pub include: Vec<String>,
    /// `exclude`: globs of paths, or of names if without a slash.
    pub exclude: Vec<String>,
    /// `topic`: where the lines go; a template.
    pub topic: Template,
    /// `start_at`: where files begin that are there at this input's first start. Default the beginning.
    pub start_at: StartAt,
    /// `ignore_older`: files that were last written to longer ago when they are found are not opened until they are written to. Default off.
    pub ignore_older: Option<Duration>,
    /// `remove_after`: a file read to its end is removed when all of it is acknowledged and it was quiet for so long. Default off.
    pub remove_after: Option<Duration>,
    /// `network_owner`: the id of the one agent that follows these files where they are on a network file system. Default: none does.
    pub network_owner: Option<String>,
    /// `partition_by`: how a file finds its partition. Default by file.
    pub partition_by: PartitionBy,
    /// `line_bytes_max`: longer lines come in pieces. Default and maximum `1MiB`, minimum `1KiB`.
    pub line_bytes_max: usize,
    /// `long_lines`: what becomes of longer lines. Default `split`: they come in pieces.
    pub long_lines: LongLines,
    /// `container`: which runtime writes the files, whose fragments are to be joined. Default: none.
    pub container: Option<Container>,
    /// `encoding`: what the bytes mean. Default `utf-8`: they are shipped as they are.
    pub encoding: Encoding,
    /// `keep_cr`: leaves the CR of a CR LF in the line. Default false.
    pub keep_cr: bool,
    /// `[inputs.multiline]`: which lines belong together. Default: none.
    pub multiline: Option<Multiline>,
    /// `partial_flush`: when a line without its end is shipped as it is. Default `5s`, `100ms` to `1h`.
    pub partial_flush: Duration,
}

/// Longest line of a container that may be truncated or dead-lettered: fragments wait in the carry, which has room for this.
const CONTAINER_LINE_BYTES_MAX: usize = 60 << 10;

/// Says where files begin that are there at an input's first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// At their first byte.
    #[default]
    Beginning,
    /// After their last line end. What was written before is skipped, on purpose.
    End,
}

/// Says how a file finds its partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PartitionBy {
    /// By its path; keeps its order.
    #[default]
    File,
    /// By a key filled from a template, which every record gets too.
    Key(Template),
    /// Batch by batch, in turn; promises no order.
    RoundRobin,
}

impl Input {
    /// Makes an input of this name and topic with every other setting at its default, and no files yet.
    ///
    /// # Panics
    /// If the topic has an unfinished or unknown placeholder.
    pub fn new(topic: &str) -> Self {
        Self {
            name: topic.to_owned(),
            include: Vec::new(),
            exclude: Vec::new(),
            topic: Template::parse(topic, &BTreeMap::new()).expect("a well-formed topic"),
            start_at: StartAt::default(),
            ignore_older: None,
            remove_after: None,
            network_owner: None,
            partition_by: PartitionBy::default(),
            line_bytes_max: LINE_BYTES_PER_BATCH,
            long_lines: LongLines::default(),
            container: None,
            encoding: Encoding::default(),
            keep_cr: false,
            multiline: None,
            partial_flush: Duration::from_secs(5),
        }
    }

    /// Tells whether records may have more than one line of a file, so that one may go on in the next file.
    pub fn joins(&self) -> bool {
        self.multiline.is_some() || self.container.is_some()
    }

    fn read(input: &Section<'_>, labels: &BTreeMap<String, String>) -> Self {
        input.choice("type", (), &[("file", ())]);
        let topic = input.required::<String>("topic").unwrap_or_default();
        let default = Self::new("");
        let (container, long_lines) = (read_container(input), read_long_lines(input));
        let (encoding, multiline) = (read_encoding(input), read_multiline(&input.section("multiline")));
        if multiline.is_some() && matches!(encoding, Encoding::Utf16(_) | Encoding::Utf16ByMark) {
            input.mistake("multiline", "cannot join lines of UTF-16");
        }
        let line_max = ByteSize(LINE_BYTES_PER_BATCH as u64);
        let line_bytes_max = input.within("line_bytes_max", line_max, ByteSize::kib(1)..=line_max).0 as usize;
        if container.is_some() && encoding != Encoding::Bytes {
            input.mistake("encoding", "means nothing with container: the runtimes write UTF-8");
        }
        if long_lines != LongLines::Split && multiline.is_some() {
            input.mistake("long_lines", "cannot be chosen with multiline: a record too long comes in pieces");
        }
        if long_lines != LongLines::Split && container.is_some() && line_bytes_max > CONTAINER_LINE_BYTES_MAX {
            input.mistake(
                "long_lines",
                "needs line_bytes_max = \"60KiB\" or less with container: no more is kept of a line",
            );
        }
        Self {
            name: input.get("name", topic.clone()),
            include: read_globs(input, "include"),
            exclude: read_globs(input, "exclude"),
            topic: read_template(input, "topic", &topic, labels).unwrap_or(default.topic),
            start_at: input.choice(
                "start_at",
                default.start_at,
                &[("beginning", StartAt::Beginning), ("end", StartAt::End)],
            ),
            ignore_older: read_time(input, "ignore_older"),
            remove_after: read_time(input, "remove_after"),
            network_owner: input.optional("network_owner"),
            partition_by: read_partition_by(input, labels),
            line_bytes_max,
            long_lines,
            container,
            encoding,
            keep_cr: input.get("keep_cr", default.keep_cr),
            multiline,
            partial_flush: input.within(
                "partial_flush",
                default.partial_flush,
                Duration::from_millis(100)..=Duration::from_secs(3600),
            ),
        }
    }
}

/// Reads `[[inputs]]`: at least one, each with its own name.
pub(super) fn read_all(root: &Section<'_>, labels: &BTreeMap<String, String>) -> Vec<Input> {
    let sections = root.sections("inputs");
    if sections.is_empty() {
        root.mistake("inputs", "at least one [[inputs]] is needed");
    }
    let (mut inputs, mut names) = (Vec::new(), BTreeSet::new());
    for section in sections {
        let input = Input::read(&section, labels);
        if input.include.is_empty() {
            section.mistake("include", "names no file");
        }
        if !input.name.is_empty() && !names.insert(input.name.clone()) {
            section.mistake("name", format!("{:?} names an earlier input too; give each its own name", input.name));
        }
        inputs.push(input);
    }
    inputs
}

/// Reads a time that is off unless it is set.
fn read_time(input: &Section<'_>, key: &str) -> Option<Duration> {
    let decades = Duration::from_secs(3650 * 24 * 3600);
    Some(input.within(key, Duration::ZERO, Duration::ZERO..=decades)).filter(|time| !time.is_zero())
}

fn read_globs(input: &Section<'_>, key: &str) -> Vec<String> {
    let globs = input.get(key, Vec::new());
    for glob in &globs {
        if let Err(error) = GlobBuilder::new(glob).literal_separator(true).build() {
            input.mistake(key, error.to_string());
        }
    }
    globs
}

fn read_encoding(input: &Section<'_>) -> Encoding {
    let named = |name: String| Encoding::named(&name).map_err(|reason| input.mistake("encoding", reason)).ok();
    input.optional::<String>("encoding").and_then(named).unwrap_or_default()
}

fn read_container(input: &Section<'_>) -> Option<Container> {
    let named = |name: String| match name.as_str() {
        "cri" => Some(Container::Cri),
        "docker" => Some(Container::Docker),
        "auto" => Some(Container::Auto),
        _ => {
            input.mistake("container", format!("{name:?} is none of cri, docker, auto"));
            None
        }
    };
    input.optional::<String>("container").and_then(named)
}

fn read_long_lines(input: &Section<'_>) -> LongLines {
    let ways = [("split", LongLines::Split), ("truncate", LongLines::Truncate), ("dead_letter", LongLines::DeadLetter)];
    input.choice("long_lines", LongLines::Split, &ways)
}

/// Reads `[inputs.multiline]`: `preset`, or `mode` with `pattern`; `flush` (default `1s`), `lines_max` (default 1000).
fn read_multiline(table: &Section<'_>) -> Option<Multiline> {
    let (mode, preset) = (table.optional::<String>("mode"), table.optional::<String>("preset"));
    let pattern = table.optional::<String>("pattern");
    let flush = table.within("flush", Duration::from_secs(1), Duration::from_millis(50)..=Duration::from_secs(60));
    let lines_max = table.within("lines_max", 1000, 2..=100_000);
    let pattern = match (mode.as_deref(), preset.as_deref(), pattern) {
        (None, None, None) => return None,
        (Some("start" | "continue"), None, Some(pattern)) => pattern,
        (Some("indentation"), None, None) => preset_pattern("indentation")?.to_owned(),
        (None, Some(name), None) if preset_pattern(name).is_some() => preset_pattern(name)?.to_owned(),
        (None, Some(_), None) => {
            let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
            table.mistake("preset", format!("is none of {}", names.join(", ")));
            return None;
        }
        _ => {
            let ways = "mode = \"start\" or \"continue\" with a pattern, or mode = \"indentation\", or a preset";
            table.mistake("", format!("needs one of: {ways}"));
            return None;
        }
    };
    match Regex::new(&pattern) {
        Ok(regex) if mode.as_deref() == Some("start") => Some(Multiline::new(Rule::Start(regex), flush, lines_max)),
        Ok(regex) => Some(Multiline::new(Rule::Continue(regex), flush, lines_max)),
        Err(error) => {
            table.mistake("pattern", error.to_string());
            None
        }
    }
}

fn preset_pattern(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, pattern)| *pattern)
}

fn read_template(input: &Section<'_>, key: &str, written: &str, labels: &BTreeMap<String, String>) -> Option<Template> {
    Template::parse(written, labels).map_err(|reason| input.mistake(key, reason)).ok()
}

fn read_partition_by(input: &Section<'_>, labels: &BTreeMap<String, String>) -> PartitionBy {
    let words = [("file", 0), ("round_robin", 1), ("key", 2)];
    let (word, key) = (input.choice("partition_by", 0, &words), input.optional::<String>("key"));
    match (word, key) {
        (2, Some(key)) => read_template(input, "key", &key, labels).map_or(PartitionBy::File, PartitionBy::Key),
        (2, None) => {
            input.mistake("key", "is missing; partition_by = \"key\" needs one, such as \"{host}\"");
            PartitionBy::File
        }
        (_, Some(_)) => {
            input.mistake("key", "means nothing without partition_by = \"key\"");
            PartitionBy::File
        }
        (1, None) => PartitionBy::RoundRobin,
        (_, None) => PartitionBy::File,
    }
}
