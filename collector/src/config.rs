//! What an operator may choose. configs/collector.toml shows every key; a test keeps the two the same.

mod exposure;
mod http;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skidway_commitlog::{Durability, TopicDefaults, TopicRule};
use skidway_daemon::config::{ByteSize, Document, Mistakes, Section, Setting, Written, parse_duration};
use skidway_daemon::telemetry::Logging;
use skidway_record::limits::PARTITIONS_MAX;

use crate::access::AccessConfig;
use crate::groups::GroupsConfig;
use crate::ingest::Validation;
use crate::log::{Cleanup, Pins, TopicSettings};
use crate::sink::config::SinkConfig;
pub use exposure::Exposed;
pub use http::HttpConfig;
pub use tls::{ClientAuth, TlsConfig};

/// Begins the environment variables that lie over the file: `SKIDWAY_COLLECTOR__HTTP__LISTEN`.
pub const ENV_PREFIX: &str = "SKIDWAY_COLLECTOR";

/// Configures a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of everything the collector keeps.
    pub data_dir: PathBuf,
    /// How long an orderly stop may take; 20 s.
    pub shutdown_timeout: Duration,
    /// What it says of itself.
    pub logging: Logging,
    /// The HTTP door.
    pub http: HttpConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// The embedded engine.
    pub engine: EngineConfig,
    /// What is checked on the way in.
    pub validation: Validation,
    /// Bytes of decoded records shared by all readers; 64 MiB.
    pub read_cache_bytes: u64,
    /// Bytes of memory for tables that are being read, all together; 256 MiB.
    pub table_bytes: u64,
    /// What new topics get.
    pub topics: TopicDefaults,
    /// Consumer groups.
    pub groups: GroupsConfig,
    /// Topics that become files.
    pub sinks: Vec<SinkConfig>,
}

/// Configures the embedded engine; what is not here has the engine's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// What an acknowledgement waits for; fsync.
    pub durability: Durability,
    /// Size at which a segment is closed; 256 MiB.
    pub segment_bytes: u64,
    /// Age at which a segment is closed; 24 h.
    pub segment_age: Duration,
    /// Bytes of journal and direct batches between checkpoints; 128 MiB.
    pub checkpoint_bytes: u64,
    /// Free bytes kept for deletions and checkpoints; 64 MiB.
    pub reserve_bytes: u64,
    /// Segment files kept open; 2048, less if the process may not.
    pub open_files_max: u32,
    /// Recently appended bytes kept in memory; 64 MiB.
    pub recent_bytes_max: u64,
    /// Bytes kept past retention for sinks that are behind; 10 GiB. Past them the oldest go, and the sinks record a gap.
    pub pinned_bytes_max: u64,
    /// Time since its last append after which a closed segment's small batches are merged; 1 h.
    pub merge_after: Option<Duration>,
    /// How often topics are looked at for what compaction could remove; 15 s.
    pub compaction_interval: Duration,
    /// Bytes that compaction reads and writes a second at most; 32 MiB.
    pub compaction_bytes_per_second: u64,
    /// Bytes of the table of keys that a compaction works with; 128 MiB.
    pub compaction_map_bytes: u64,
    /// Share of a partition, in percent, not compacted before from which on it is worth it; 50.
    pub min_cleanable_dirty_percent: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/skidway-collector".into(),
            shutdown_timeout: Duration::from_secs(20),
            logging: Logging::default(),
            http: HttpConfig::default(),
            access: AccessConfig::default(),
            engine: EngineConfig::default(),
            validation: Validation::Full,
            read_cache_bytes: 64 << 20,
            table_bytes: 256 << 20,
            topics: TopicDefaults::default(),
            groups: GroupsConfig::default(),
            sinks: Vec::new(),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        let engine = skidway_commitlog::Config::new("");
        Self {
            durability: engine.durability,
            segment_bytes: engine.segment_bytes,
            segment_age: Duration::from_millis(engine.segment_age_ms),
            checkpoint_bytes: engine.checkpoint_bytes,
            reserve_bytes: engine.reserve_bytes,
            open_files_max: engine.open_files_max as u32,
            recent_bytes_max: engine.recent_bytes_max as u64,
            pinned_bytes_max: 10 << 30,
            merge_after: engine.merge_after_ms.map(Duration::from_millis),
            compaction_interval: engine.compaction_interval,
            compaction_bytes_per_second: engine.compaction_bytes_per_second,
            compaction_map_bytes: engine.compaction_map_bytes as u64,
            min_cleanable_dirty_percent: engine.min_cleanable_dirty_percent.into(),
        }
    }
}

impl Config {
    /// Reads a whole document.
    ///
    /// # Errors
    /// Every mistake in it, unknown keys included.
    pub fn read(document: Document) -> Result<Self, Mistakes> {
        let config = Self::from_section(&document.section());
        document.finish()?;
        Ok(config)
    }

    /// Reads the collector's tables; mistakes are remembered by the document.
    pub fn from_section(root: &Section<'_>) -> Self {
        let default = Self::default();
        let collector = root.section("collector");
        let seconds = Duration::from_secs;
        let config = Self {
            data_dir: collector.get("data_dir", default.data_dir),
            shutdown_timeout: collector.within("shutdown_timeout", default.shutdown_timeout, seconds(1)..=seconds(600)),
            logging: Logging::read(&root.section("log")),
            http: HttpConfig::from_section(root),
            access: AccessConfig::read(&root.section("access")),
            engine: EngineConfig::from_section(&root.section("engine")),
            validation: {
                let words = [("full", Validation::Full), ("header", Validation::Header)];
                root.section("ingest").choice("validate", default.validation, &words)
            },
            read_cache_bytes: {
                let range = ByteSize::mib(1)..=ByteSize::gib(64);
                root.section("read").within("cache_bytes", ByteSize(default.read_cache_bytes), range).0
            },
            table_bytes: {
                let range = ByteSize::mib(1)..=ByteSize::gib(64);
                root.section("keys").within("table_bytes", ByteSize(default.table_bytes), range).0
            },
            topics: topics(&root.section("topics")),
            groups: groups(&root.section("groups")),
            sinks: SinkConfig::all(root),
        };
        for exposed in config.exposed() {
            root.section("http").mistake("listen", exposed.to_string());
        }
        config
    }

    /// Gives `engine.durability` as it is written.
    pub fn durability_word(&self) -> &'static str {
        match self.engine.durability {
            Durability::Fsync => "fsync",
            Durability::Os => "os",
        }
    }

    /// Gives the engine's own configuration. Where there are sinks, nothing is deleted before they say what they need.
    pub fn engine(&self) -> skidway_commitlog::Config {
        let engine = &self.engine;
        let default = skidway_commitlog::Config::new(&self.data_dir);
        skidway_commitlog::Config {
            durability: engine.durability,
            segment_bytes: engine.segment_bytes,
            segment_age_ms: engine.segment_age.as_millis() as u64,
            merge_after_ms: engine.merge_after.map(|after| after.as_millis() as u64),
            compaction_interval: engine.compaction_interval,
            compaction_bytes_per_second: engine.compaction_bytes_per_second,
            compaction_map_bytes: engine.compaction_map_bytes as usize,
            min_cleanable_dirty_percent: engine.min_cleanable_dirty_percent.clamp(1, 100) as u8,
            checkpoint_bytes: engine.checkpoint_bytes,
            reserve_bytes: engine.reserve_bytes,
            open_files_max: engine.open_files_max as usize,
            recent_bytes_max: engine.recent_bytes_max as usize,
            // Bodies in flight are bounded already, so the queue never has to block who holds one.
            queue_requests_max: crate::log::embedded::QUEUED_MAX + 1,
            queue_bytes_max: default.queue_bytes_max.max(2 * self.http.memory_bytes_max as usize),
            pins: Arc::new(Pins::new(!self.sinks.is_empty(), engine.pinned_bytes_max)),
            topics: self.topics.clone(),
            ..default
        }
    }
}

impl EngineConfig {
    fn from_section(engine: &Section<'_>) -> Self {
        let default = Self::default();
        if engine.choice("kind", "embedded", &[("embedded", "embedded"), ("kafka", "kafka")]) == "kafka" {
            engine
                .mistake("kind", "this build has only the embedded engine; a log in Kafka comes with a later release");
        }
        let bytes = |key, default, min, max| engine.within(key, ByteSize(default), min..=max).0;
        let (hour, year) = (Duration::from_secs(3600), Duration::from_secs(365 * 86_400));
        let durabilities = [("fsync", Durability::Fsync), ("os", Durability::Os)];
        Self {
            durability: engine.choice("durability", default.durability, &durabilities),
            segment_bytes: bytes("segment_bytes", default.segment_bytes, ByteSize::mib(1), ByteSize::gib(1)),
            segment_age: engine.within("segment_age", default.segment_age, hour..=year),
            checkpoint_bytes: bytes("checkpoint_bytes", default.checkpoint_bytes, ByteSize::mib(1), ByteSize::gib(16)),
            reserve_bytes: bytes("reserve_bytes", default.reserve_bytes, ByteSize::mib(1), ByteSize::gib(64)),
            open_files_max: engine.within("open_files_max", default.open_files_max, 4..=1_000_000),
            recent_bytes_max: bytes("recent_bytes", default.recent_bytes_max, ByteSize(0), ByteSize::gib(64)),
            pinned_bytes_max: bytes("pinned_bytes", default.pinned_bytes_max, ByteSize(0), ByteSize::gib(1 << 20)),
            merge_after: engine.optional::<After>("merge_after").map_or(default.merge_after, |After(after)| after),
            compaction_interval: {
                let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
                engine.within("compaction_interval", default.compaction_interval, range)
            },
            compaction_bytes_per_second: {
                let (key, default) = ("compaction_bytes_per_second", default.compaction_bytes_per_second);
                bytes(key, default, ByteSize::kib(64), ByteSize::gib(64))
            },
            compaction_map_bytes: {
                bytes("compaction_map_bytes", default.compaction_map_bytes, ByteSize::mib(1), ByteSize::gib(64))
            },
            min_cleanable_dirty_percent: {
                engine.within("min_cleanable_dirty_percent", default.min_cleanable_dirty_percent, 1..=100)
            },
        }
    }
}

fn groups(groups: &Section<'_>) -> GroupsConfig {
    let default = GroupsConfig::default();
    let (second, minute, year) = (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(365 * 86_400));
    GroupsConfig {
        session_timeout: groups.within("session_timeout", default.session_timeout, second..=30 * minute),
        rebalance_timeout: groups.within("rebalance_timeout", default.rebalance_timeout, Duration::ZERO..=30 * minute),
        offsets_retention: groups.within("offsets_retention", default.offsets_retention, second..=10 * year),
        groups_max: groups.within("groups_max", default.groups_max, 1..=100_000),
        members_max: groups.within("members_max", default.members_max, 1..=10_000),
    }
}

fn topics(topics: &Section<'_>) -> TopicDefaults {
    let default = TopicDefaults::default();
    let settings = settings(topics);
    TopicDefaults {
        auto_create: topics.get("auto_create", default.auto_create),
        default: settings.over(&default.default),
        rules: topics.sections("rules").iter().filter_map(rule).collect(),
    }
}

fn rule(rule: &Section<'_>) -> Option<TopicRule> {
    let settings = settings(rule);
    Some(TopicRule { pattern: rule.required("match")?, settings })
}

/// Reads the settings that `[topics]` and its rules share.
fn settings(section: &Section<'_>) -> TopicSettings {
    let retention = section.section("retention");
    let partitions = section.optional::<u32>("partitions");
    if partitions.is_some_and(|partitions| !(1..=PARTITIONS_MAX).contains(&partitions)) {
        section.mistake("partitions", format!("a topic has 1 to {PARTITIONS_MAX} partitions"));
    }
    let millis = |key| section.optional::<Duration>(key).map(|it| it.as_millis() as u64);
    TopicSettings {
        partitions,
        cleanup: section.optional::<CleanupName>("cleanup").map(|it| it.0),
        tombstone_retention_ms: millis("tombstone_retention"),
        min_compaction_lag_ms: millis("min_compaction_lag"),
        retention_age_ms: retention.optional::<Bound<Duration>>("age").map(|it| it.0.map(|age| age.as_millis() as u64)),
        retention_bytes: retention.optional::<Bound<ByteSize>>("bytes").map(|it| it.0.map(|bytes| bytes.0)),
    }
}

/// Is a bound that can be lifted by the word `unlimited`.
struct Bound<T>(Option<T>);

impl Setting for Bound<Duration> {
    fn expected() -> String {
        "a duration such as \"7d\", or \"unlimited\"".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        match written.text()? {
            "unlimited" => Some(Self(None)),
            text => parse_duration(text).filter(|age| !age.is_zero()).map(|age| Self(Some(age))),
        }
    }
}

/// Is the name of a cleanup.
struct CleanupName(Cleanup);

impl Setting for CleanupName {
    fn expected() -> String {
        "\"delete\", \"compact\" or \"compact,delete\"".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        Cleanup::parse(written.text()?).map(Self)
    }
}

/// Is a time to wait, or the word `never`.
struct After(Option<Duration>);

impl Setting for After {
    fn expected() -> String {
        "a duration such as \"1h\", or \"never\"".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        match written.text()? {
            "never" => Some(Self(None)),
            text => parse_duration(text).map(|after| Self(Some(after))),
        }
    }
}

impl Setting for Bound<ByteSize> {
    fn expected() -> String {
        "a size such as \"10GiB\", or \"unlimited\"".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        match written.text() {
            Some("unlimited") => Some(Self(None)),
            _ => ByteSize::read(written).map(|bytes| Self(Some(bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../configs/collector.toml");

    const LEAST_SINK: &str =
        "[[sinks]]\nname = 'archive'\ntopics = ['app-*', 'nginx']\nurl = 'file:///var/lib/skidway-archive'\n";

    const LEAST_BEACON: &str = "[[beacons]]\ntoken = '4f1d0c6a9b2e47d8'\ntopic = 'clicks'\n";

    fn read(text: &str) -> Result<Config, String> {
        Config::read(Document::parse("collector.toml", text).map_err(|it| it.to_string())?).map_err(|it| it.to_string())
    }

    /// Takes the `#` off every commented key and table.
    fn uncommented() -> String {
        let line = |line: &str| {
            let key =
                line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
            key.unwrap_or(line).to_owned() + "\n"
        };
        REFERENCE.lines().map(line).collect()
    }

    #[test]
    fn the_reference_shows_every_key_with_its_default() {
        assert_eq!(read(REFERENCE), Ok(Config::default()));
        let mut all = read(&uncommented()).unwrap();
        assert_eq!(all.access.admin_token_file.take(), Some("/etc/skidway/admin-token".into()));
        let rules = std::mem::take(&mut all.topics.rules);
        let sinks = std::mem::take(&mut all.sinks);
        let beacons = std::mem::take(&mut all.http.beacons);
        assert_eq!(beacons, read(LEAST_BEACON).unwrap().http.beacons, "and so is what it shows of a beacon");
        assert_eq!(sinks, read(LEAST_SINK).unwrap().sinks, "what the reference shows of a sink is its defaults");
        assert_eq!(all, Config::default());
        let audit = TopicSettings {
            partitions: Some(1),
            retention_age_ms: Some(Some(365 * 86_400_000)),
            retention_bytes: Some(None),
            ..TopicSettings::default()
        };
        assert_eq!(rules, [TopicRule { pattern: "audit-*".into(), settings: audit }]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mistakes = read(
            "[http]\nlissten = '127.0.0.1:1'\nmemory_bytes_max = '32MiB'\n[engine]\nkind = 'kafka'\n\
             [topics]\npartitions = 0\n[[topics.rules]]\nretention = { age = 7 }\ncleanup = 'compacted'\n\
             [[beacons]]\ntoken = 'short'\ntopic = '__x'\nallowed_origins = ['example.org']\nkeep_headers = ['Cookie']\n",
        )
        .unwrap_err();
        for words in [
            "collector.toml:2: http.lissten: unknown key; did you mean \"listen\"?",
            "collector.toml:3: http.memory_bytes_max: is less than body_bytes_max",
            "collector.toml:5: engine.kind: this build has only the embedded engine",
            "collector.toml:7: topics.partitions: a topic has 1 to 1000 partitions",
            "topics.rules.0.match: is missing",
            "beacons.0.token: 16 to 128 letters",
            "beacons.0.topic: topics that begin with __ are our own",
            "beacons.0.allowed_origins: \"example.org\" is no origin",
            "beacons.0.keep_headers: cookie is a secret of its sender",
            "topics.rules.0.cleanup: expected \"delete\", \"compact\" or \"compact,delete\"",
            "topics.rules.0.retention.age: expected a duration such as \"7d\", or \"unlimited\"",
        ] {
            assert!(mistakes.contains(words), "{words} in {mistakes}");
        }
    }
}
