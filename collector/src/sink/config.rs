//! What an operator says of a sink. configs/collector.toml shows every key.

pub mod hdfs;

use std::time::Duration;

use jiff::tz::TimeZone;
use skidway_daemon::config::{ByteSize, Section};
use skidway_record::TopicName;

use super::decisions::{DECISIONS_TOPIC, Recipe};
use super::event_time::TimeSource;
use super::lane::Rolling;
use super::manifest::FILES_TOPIC;
use super::parquet::{Field, Kind, is_taken, pointer};
use super::path::FolderTemplate;
use super::rows::{Compression, Format};
use super::store::Destination;
use crate::json::Column;

/// What an NDJSON row shows unless told otherwise: all there is.
const COLUMNS: [Column; 7] =
    [Column::Topic, Column::Partition, Column::Offset, Column::Timestamp, Column::Key, Column::Headers, Column::Value];

/// Bounds a sink's name, which is part of folders' and metrics' names.
const NAME_BYTES_MAX: usize = 64;

/// Configures a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Its name; its state in the log goes by it.
    pub name: String,
    /// Patterns of topics' names.
    pub topics: Vec<String>,
    /// Where files go.
    pub destination: Destination,
    /// How records become files.
    pub layout: Layout,
    /// Where the topics are begun that are there at the sink's first start.
    pub start_at: StartAt,
    /// When files are rolled.
    pub rolling: Rolling,
    /// A topic's partitions are in the same files.
    pub merges: bool,
}

/// Says how records become files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Folders.
    pub path: FolderTemplate,
    /// Rows.
    pub format: Format,
    /// Compression.
    pub compression: Compression,
    /// What an NDJSON row shows, in order.
    pub columns: Vec<Column>,
    /// A value that is JSON appears as it is, not as a string.
    pub inline_json: bool,
    /// What becomes of late records.
    pub late: Late,
    /// Which members of JSON values have columns in Parquet files.
    pub schema: Schema,
}

/// Says what becomes of records of a time whose files were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// They are in a file of their own in the folder of their time.
    Keep,
    /// They are in the folder of their time below `late/`.
    Aside,
    /// They are in no file, and counted.
    Drop,
}

impl Late {
    const ALL: [(&'static str, Self); 3] = [("keep", Self::Keep), ("aside", Self::Aside), ("drop", Self::Drop)];
}

/// Says which members of JSON values have columns in Parquet files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// None: values are not taken apart.
    None,
    /// Those that are seen.
    Infer,
    /// These.
    Fields(Vec<Field>),
}

/// Says where a partition is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record kept.
    Earliest,
    /// After the last record there is.
    Latest,
}

impl SinkConfig {
    /// Reads `[[sinks]]`; mistakes are remembered by the document.
    pub fn all(root: &Section<'_>) -> Vec<Self> {
        let mut sinks: Vec<Self> = Vec::new();
        for section in root.sections("sinks") {
            let Some(sink) = Self::from_section(&section) else { continue };
            if sinks.iter().any(|other| other.name == sink.name) {
                section.mistake(
                    "name",
                    format!("there are two sinks named {:?}; what one has written would be the other's", sink.name),
                );
            }
            sinks.push(sink);
        }
        sinks
    }

    fn from_section(sink: &Section<'_>) -> Option<Self> {
        let name = sink.required::<String>("name");
        let is_plain = |name: &String| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
        };
        if name.as_ref().is_some_and(|name| !is_plain(name)) {
            sink.mistake("name", format!("is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ -"));
        }
        let topics = sink.required::<Vec<String>>("topics");
        if topics.as_ref().is_some_and(Vec::is_empty) {
            sink.mistake("topics", "names no topic");
        }
        let destination = Destination::from_section(sink);
        let layout = Layout::from_section(sink);
        let starts = [("earliest", StartAt::Earliest), ("latest", StartAt::Latest)];
        let start_at = sink.choice("start_at", StartAt::Earliest, &starts);
        let rolling = rolling(&sink.section("roll"));
        let merges = sink.get("merge_partitions", false);
        if merges && layout.as_ref().is_some_and(|layout| layout.format == Format::Parquet) {
            sink.mistake("merge_partitions", "is of NDJSON and raw files; Parquet files are of one partition");
        }
        Some(Self {
            name: name?,
            topics: topics?,
            destination: destination?,
            layout: layout?,
            start_at,
            rolling,
            merges,
        })
    }

    /// Tells whether it takes a topic. Our own topics are taken only by a pattern that begins like them, and what sinks write by none: every
    /// file would make a record, and that another file.
    pub fn takes(&self, topic: &TopicName) -> bool {
        let is_own = [DECISIONS_TOPIC, FILES_TOPIC].contains(&topic.as_str());
        !is_own && self.topics.iter().any(|pattern| topic.is_taken_by(pattern))
    }
}

impl Layout {
    fn from_section(sink: &Section<'_>) -> Option<Self> {
        let zone = sink.get("timezone", "UTC".to_owned());
        let zone = TimeZone::get(&zone).map_err(|_| {
            sink.mistake("timezone", format!("{zone:?} is no time zone; write UTC, or a name such as Europe/Berlin"));
        });
        let path = sink.get("path", "{topic}/dt=%Y-%m-%d/hour=%H".to_owned());
        let path = FolderTemplate::parse(&path, zone.unwrap_or(TimeZone::UTC));
        let path = path.map_err(|reason| sink.mistake("path", reason)).ok();
        let time = TimeSource::parse(&sink.get("time", "timestamp".to_owned()));
        let time = time.map_err(|reason| sink.mistake("time", reason)).ok();
        let format = sink.choice("format", Format::Ndjson, &Format::ALL);
        let schema = schema(sink, format);
        // What is taken apart is not there a second time unless asked for.
        let default = COLUMNS.iter().filter(|column| **column != Column::Value || schema == Schema::None);
        let names: Vec<String> = sink.get("columns", default.map(|column| column.name().to_owned()).collect());
        let mut columns = Vec::new();
        for name in names {
            match Column::named(&name) {
                Some(column) if !columns.contains(&column) => columns.push(column),
                Some(_) => sink.mistake("columns", format!("names {name:?} twice")),
                None => {
                    let known = Column::ALL.map(|(name, _)| name).join(", ");
                    sink.mistake("columns", format!("there is no column {name:?}; there are {known}"));
                }
            }
        }
        let usual = if format == Format::Parquet { Compression::Zstd } else { Compression::Gzip };
        let compression = sink.choice("compression", usual, &Compression::ALL);
        let inline_json = sink.get("inline_json", false);
        let late = sink.choice("late", Late::Keep, &Late::ALL);
        if format == Format::Parquet && compression == Compression::Gzip {
            sink.mistake("compression", "is zstd or none in Parquet files");
        }
        if format == Format::Parquet && inline_json {
            sink.mistake("inline_json", "is of NDJSON rows; of Parquet files schema and fields take JSON apart");
        }
        Some(Self { path: path?.timed_by(time?), format, compression, columns, inline_json, late, schema })
    }

    /// Writes it down, so that files can be made again whatever the configuration says by then.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            path: self.path.text().to_owned(),
            timezone: self.path.zone().to_owned(),
            format: self.format.name().to_owned(),
            compression: self.compression.name().to_owned(),
            columns: self.columns.iter().map(|column| column.name().to_owned()).collect(),
            inline_json: self.inline_json,
            time: self.path.time().text(),
            late: Late::ALL.iter().find(|(_, late)| *late == self.late).map_or("", |(name, _)| name).to_owned(),
            fields: match &self.schema {
                Schema::None => None,
                // What was learned is known to whoever wrote the files.
                Schema::Infer => Some(Vec::new()),
                Schema::Fields(fields) => Some(fields.clone()),
            },
        }
    }

    /// Reads what [`Layout::recipe`] wrote.
    ///
    /// # Errors
    /// What this build does not know of it, in words.
    pub fn of(recipe: &Recipe) -> Result<Self, String> {
        let find = |name: &str, what: &str| format!("this build knows no {what} {name:?}");
        let zone = TimeZone::get(&recipe.timezone).map_err(|_| find(&recipe.timezone, "time zone"))?;
        let format = Format::ALL.iter().find(|(name, _)| *name == recipe.format);
        let compression = Compression::ALL.iter().find(|(name, _)| *name == recipe.compression);
        let column = |name: &String| Column::named(name).ok_or_else(|| find(name, "column"));
        let late = Late::ALL.iter().find(|(name, _)| *name == recipe.late);
        Ok(Self {
            path: FolderTemplate::parse(&recipe.path, zone)?.timed_by(TimeSource::parse(&recipe.time)?),
            format: format.ok_or_else(|| find(&recipe.format, "format"))?.1,
            compression: compression.ok_or_else(|| find(&recipe.compression, "compression"))?.1,
            columns: recipe.columns.iter().map(column).collect::<Result<_, _>>()?,
            inline_json: recipe.inline_json,
            late: late.ok_or_else(|| find(&recipe.late, "way with late records"))?.1,
            schema: recipe.fields.clone().map_or(Schema::None, Schema::Fields),
        })
    }
}

/// Reads `schema` and `fields`.
fn schema(sink: &Section<'_>, format: Format) -> Schema {
    let infers = sink.choice("schema", false, &[("none", false), ("infer", true)]);
    let entries = sink.sections("fields");
    let mut fields: Vec<Field> = Vec::new();
    for entry in &entries {
        let (Some(name), Some(_)) = (entry.required::<String>("name"), entry.required::<String>("type")) else {
            continue;
        };
        let field = Field {
            kind: entry.choice("type", Kind::String, &Kind::ALL),
            from: entry.get("from", pointer(&name)),
            name,
        };
        if field.name.is_empty() || is_taken(&field.name) {
            entry.mistake("name", format!("{:?} is a column of the record itself; write another", field.name));
        }
        if fields.iter().any(|other| other.name.to_lowercase() == field.name.to_lowercase()) {
            entry.mistake("name", format!("there are two fields {:?}; upper and lower case are one", field.name));
        }
        if !field.from.starts_with('/') {
            entry.mistake("from", "is a JSON pointer and begins with a slash, such as /request/status");
        }
        fields.push(field);
    }
    let is_used = infers || !entries.is_empty();
    if is_used && format != Format::Parquet {
        sink.mistake(if infers { "schema" } else { "fields" }, "is of Parquet files; write format = \"parquet\"");
    }
    if infers && !entries.is_empty() {
        sink.mistake("schema", "is infer, and there are fields: one of both says which columns there are");
    }
    match (infers, is_used) {
        (true, _) => Schema::Infer,
        (false, true) => Schema::Fields(fields),
        (false, false) => Schema::None,
    }
}

fn rolling(roll: &Section<'_>) -> Rolling {
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
    let bytes = ByteSize::mib(128);
    Rolling {
        bytes: roll.within("bytes", bytes, ByteSize::kib(1)..=ByteSize::gib(64)).0,
        records: roll.within("records", u64::MAX >> 1, 1..=u64::MAX >> 1),
        age: roll.within("age", Duration::from_secs(3600), second..=7 * day),
        idle: roll.within("idle", Duration::from_secs(600), second..=7 * day),
        open_files_max: roll.within("open_files", 20, 1..=1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_daemon::config::Document;

    fn read(text: &str) -> Result<Vec<SinkConfig>, String> {
        let document = Document::parse("collector.toml", text).map_err(|it| it.to_string())?;
        let sinks = SinkConfig::all(&document.section());
        document.finish().map_err(|it| it.to_string()).map(|()| sinks)
    }

    const LEAST: &str = "[[sinks]]\nname = 'archive'\ntopics = ['app-*']\nurl = 'file:///archive'\n";

    #[test]
    fn a_sink_needs_a_name_topics_and_a_place() {
        let sinks = read(LEAST).unwrap();
        assert_eq!(sinks[0].layout.path.text(), "{topic}/dt=%Y-%m-%d/hour=%H");
        let takes = |name: &str| sinks[0].takes(&TopicName::new(name).unwrap());
        assert_eq!((takes("app-web"), takes("web"), takes("__skidway.events")), (true, false, false));
        let ours = &read(&LEAST.replace("app-*", "__*")).unwrap()[0];
        let takes = |name: &str| ours.takes(&TopicName::new(name).unwrap());
        assert_eq!((takes("app-web"), takes("__skidway.events"), takes(DECISIONS_TOPIC)), (false, true, false));
        let missing = read("[[sinks]]\n").unwrap_err();
        for key in ["name", "topics", "url"] {
            assert!(missing.contains(&format!("sinks.0.{key}: is missing")), "{missing}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mistakes = read(
            "[[sinks]]\nname = 'a b'\ntopics = []\nurl = 'ftp://host'\ntimezone = 'Mars/Base'\npath = '/abs/%Q'\ncolumns = ['x']\nformat = 'csv'\ntime = 'ingest'\nlate = 'never'\n",
        )
        .unwrap_err();
        for words in [
            "sinks.0.name: is 1 to 64",
            "sinks.0.topics: names no topic",
            "sinks.0.url: ftp:// is not known; write file:///folder, hdfs://namenode:8020/folder, s3://bucket",
            "sinks.0.timezone: \"Mars/Base\" is no time zone",
            "sinks.0.path: has %Q",
            "sinks.0.columns: there is no column \"x\"; there are topic, partition",
            "sinks.0.format",
            "sinks.0.time: is \"ingest\"; there are timestamp",
            "sinks.0.late",
        ] {
            assert!(mistakes.contains(words), "{words} in {mistakes}");
        }
        assert!(read(&[LEAST, LEAST].concat()).unwrap_err().contains("two sinks named \"archive\""));
    }

    #[test]
    fn parquet_has_keys_of_its_own() {
        let layout = read(&format!("{LEAST}format = 'parquet'\nschema = 'infer'\n")).unwrap().remove(0).layout;
        assert_eq!((layout.compression, layout.columns.contains(&Column::Value)), (Compression::Zstd, false));
        let fields = "fields = [{ name = 'status', type = 'long' }, { name = 'a~/b', type = 'json', from = '/x/y' }]";
        let layout = read(&format!("{LEAST}format = 'parquet'\n{fields}\n")).unwrap().remove(0).layout;
        let status = Field { name: "status".into(), kind: Kind::Long, from: "/status".into() };
        let odd = Field { name: "a~/b".into(), kind: Kind::Json, from: "/x/y".into() };
        assert_eq!(layout.schema, Schema::Fields(vec![status, odd]));
        assert_eq!(Layout::of(&layout.recipe()).unwrap(), layout);
        let text = format!(
            "{LEAST}format = 'parquet'\ncompression = 'gzip'\ninline_json = true\nschema = 'infer'\n\
            fields = [{{ name = 'Offset', type = 'long' }}, {{ name = 'a', type = 'text' }}, {{ name = 'A', type = 'long', from = 'x' }}]\n"
        );
        let mistakes = read(&text).unwrap_err();
        for words in [
            "sinks.0.compression: is zstd or none",
            "sinks.0.inline_json: is of NDJSON",
            "sinks.0.schema: is infer, and there are fields",
            "sinks.0.fields.0.name: \"Offset\" is a column of the record",
            "sinks.0.fields.1.type",
            "sinks.0.fields.2.name: there are two fields \"A\"",
            "sinks.0.fields.2.from: is a JSON pointer",
        ] {
            assert!(mistakes.contains(words), "{words} in {mistakes}");
        }
        let mistakes = read(&format!("{LEAST}schema = 'infer'\n")).unwrap_err();
        assert!(mistakes.contains("sinks.0.schema: is of Parquet files"), "{mistakes}");
    }

    #[test]
    fn a_layout_is_read_back_from_its_recipe() {
        let text = format!(
            "{LEAST}format = 'raw'\ncompression = 'zstd'\npath = '{{host}}/%Y'\ntimezone = 'Asia/Kolkata'\ntime = 'field:/at'\nlate = 'aside'\n"
        );
        let layout = read(&text).unwrap().remove(0).layout;
        assert_eq!(Layout::of(&layout.recipe()).unwrap(), layout);
        let newer = Recipe { format: "orc".into(), ..layout.recipe() };
        assert!(Layout::of(&newer).unwrap_err().contains("knows no format \"orc\""));
    }
}
