//! What an operator may choose, and what follows from it for a topic's name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skidway_record::TopicName;
use skidway_record::limits::BATCH_BYTES_MAX;

use crate::commit::{Cleanup, TopicConfig, TopicSettings};
use crate::pins::Pins;

/// Configures the engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of everything the log keeps. One process at a time.
    pub data_dir: PathBuf,
    /// What an acknowledgement waits for. Default: [`Durability::Fsync`].
    pub durability: Durability,
    /// Size at which a segment is closed, in bytes; 256 MiB by default, 4 KiB to 1 GiB. Retention drops whole segments: smaller ones go sooner.
    pub segment_bytes: u64,
    /// Age at which a segment is closed even if small, in ms; 24 hours by default. Retention by age is no finer than this.
    pub segment_age_ms: u64,
    /// Batches of this many bytes or more are written once, straight to their segment; smaller ones into the journal first. 64 KiB by default.
    pub inline_batch_bytes_max: usize,
    /// Bytes of journal and batches written beside it between checkpoints; 128 MiB by default. Less means a faster start after a crash, and more writing.
    pub checkpoint_bytes: u64,
    /// Step in which the journal's room is reserved, in bytes; 16 MiB by default.
    pub journal_step_bytes: u64,
    /// Bytes held on the disk (file `ballast`) for deletions, checkpoints and recovery when it is full; 64 MiB by default. Commits are refused
    /// as [`crate::Error::NoSpace`] when a quarter as much is not free beside them.
    pub reserve_bytes: u64,
    /// Requests that may wait; 4096 by default. More wait in their callers.
    pub queue_requests_max: usize,
    /// Batch bytes that may wait; 64 MiB by default. More wait in their callers.
    pub queue_bytes_max: usize,
    /// Segment files kept open; 2048 by default, at least 4. Raise it, with the process's limit, if more partitions are written at once.
    pub open_files_max: usize,
    /// Recently appended bytes kept in memory for readers at the head; 64 MiB by default, 0 to read everything from files.
    pub recent_bytes_max: usize,
    /// How often retention is looked at; 30 seconds by default, at least 1 ms.
    pub retention_interval: Duration,
    /// How long a closed segment has not been written to before its small batches are merged, in ms; 1 hour by default, `None`: never.
    pub merge_after_ms: Option<u64>,
    /// How often topics are looked at for what compaction could remove; 15 seconds by default, at least 1 ms. Kafka's
    /// `log.cleaner.backoff.ms`.
    pub compaction_interval: Duration,
    /// Bytes that compaction reads and writes a second at most; 32 MiB by default.
    pub compaction_bytes_per_second: u64,
    /// Bytes of the table of keys that one compaction works with, 24 a key and a third of them free; 128 MiB by default, for 3 million keys.
    /// It compacts a shorter range where more are written. Half as much is needed on top while the table grows. Kafka's
    /// `log.cleaner.dedupe.buffer.size`.
    pub compaction_map_bytes: usize,
    /// Share of a partition, in percent, that was not compacted before, from which on it is worth it; 50 by default, 1 to 100. Kafka's
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_percent: u8,
    /// Bytes not compacted before from which on it is worth it; 1 MiB by default. Less waits until it is as old as a segment may become.
    pub compaction_bytes_min: u64,
    /// What retention, deletion and compaction leave alone for now; nothing by default.
    pub pins: Arc<Pins>,
    /// What new topics get.
    pub topics: TopicDefaults,
}

/// Says what an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The journal was synced to the device: a power cut takes nothing.
    #[default]
    Fsync,
    /// The journal was handed to the operating system: a killed process loses nothing, a power cut may take the last commits.
    Os,
}

/// Says what new topics get, and whether producing creates them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Whether producing to an unknown topic creates it; reading never does. Default: true.
    pub auto_create: bool,
    /// Settings where no rule says otherwise.
    pub default: TopicConfig,
    /// Exceptions; the first whose pattern matches wins.
    pub rules: Vec<TopicRule>,
}

/// Gives topics of certain names other settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    /// The name, with `*` for any text and `?` for any one character.
    pub pattern: String,
    /// What differs from the default.
    pub settings: TopicSettings,
}

impl Config {
    /// Gives the defaults for a data folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            durability: Durability::Fsync,
            segment_bytes: 256 << 20,
            segment_age_ms: 24 * 60 * 60 * 1000,
            inline_batch_bytes_max: 64 << 10,
            checkpoint_bytes: 128 << 20,
            journal_step_bytes: 16 << 20,
            reserve_bytes: 64 << 20,
            queue_requests_max: 4096,
            queue_bytes_max: 64 << 20,
            open_files_max: 2048,
            recent_bytes_max: 64 << 20,
            retention_interval: Duration::from_secs(30),
            merge_after_ms: Some(60 * 60 * 1000),
            compaction_interval: Duration::from_secs(15),
            compaction_bytes_per_second: 32 << 20,
            compaction_map_bytes: 128 << 20,
            min_cleanable_dirty_percent: 50,
            compaction_bytes_min: 1 << 20,
            pins: Arc::default(),
            topics: TopicDefaults::default(),
        }
    }

    /// Brings every figure into the range its field names.
    pub(crate) fn clamped(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.clamp(4 << 10, 1 << 30);
        self.journal_step_bytes = self.journal_step_bytes.clamp(4 << 10, 1 << 30);
        self.checkpoint_bytes = self.checkpoint_bytes.max(4 << 10);
        self.queue_requests_max = self.queue_requests_max.max(1);
        self.queue_bytes_max = self.queue_bytes_max.max(BATCH_BYTES_MAX);
        self.open_files_max = self.open_files_max.max(4);
        self.retention_interval = self.retention_interval.max(Duration::from_millis(1));
        self.compaction_interval = self.compaction_interval.max(Duration::from_millis(1));
        self.compaction_bytes_per_second = self.compaction_bytes_per_second.max(1);
        self.min_cleanable_dirty_percent = self.min_cleanable_dirty_percent.clamp(1, 100);
        self
    }
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self { auto_create: true, default: TopicConfig::default(), rules: Vec::new() }
    }
}

impl TopicDefaults {
    /// Gives a new topic's settings. Our own topics (`__…`) have one partition and no compaction unless a rule says otherwise.
    pub fn config_for(&self, name: &TopicName) -> TopicConfig {
        let mut config = self.default.clone();
        if name.is_internal() {
            (config.partitions, config.cleanup) = (1, Cleanup::Delete);
        }
        match self.rules.iter().find(|rule| name.matches(&rule.pattern)) {
            Some(rule) => rule.settings.over(&config),
            None => config,
        }
    }

    /// Tells whether producing to an unknown topic of this name creates it.
    pub(crate) fn may_create(&self, name: &TopicName) -> bool {
        self.auto_create || name.is_internal()
    }
}

impl TopicSettings {
    /// Gives `base` with what is set here in its place.
    pub fn over(&self, base: &TopicConfig) -> TopicConfig {
        TopicConfig {
            partitions: self.partitions.unwrap_or(base.partitions),
            retention_age_ms: self.retention_age_ms.unwrap_or(base.retention_age_ms),
            retention_bytes: self.retention_bytes.unwrap_or(base.retention_bytes),
            cleanup: self.cleanup.unwrap_or(base.cleanup),
            tombstone_retention_ms: self.tombstone_retention_ms.unwrap_or(base.tombstone_retention_ms),
            min_compaction_lag_ms: self.min_compaction_lag_ms.unwrap_or(base.min_compaction_lag_ms),
        }
    }

    /// Leaves out the number of partitions, which is a topic's own once it is there.
    pub(crate) fn all_but_partitions(&self) -> Self {
        Self { partitions: None, ..self.clone() }
    }

    /// Gives what is set after this has been set over `before`.
    pub(crate) fn over_own(&self, before: &Self) -> Self {
        Self {
            partitions: self.partitions.or(before.partitions),
            retention_age_ms: self.retention_age_ms.or(before.retention_age_ms),
            retention_bytes: self.retention_bytes.or(before.retention_bytes),
            cleanup: self.cleanup.or(before.cleanup),
            tombstone_retention_ms: self.tombstone_retention_ms.or(before.tombstone_retention_ms),
            min_compaction_lag_ms: self.min_compaction_lag_ms.or(before.min_compaction_lag_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_wins_over_the_default() {
        let rule = |pattern: &str, partitions| TopicRule {
            pattern: pattern.into(),
            settings: TopicSettings { partitions: Some(partitions), ..TopicSettings::default() },
        };
        let topics = TopicDefaults { rules: vec![rule("audit-*", 1), rule("*-web", 2)], ..TopicDefaults::default() };
        let partitions = |name| topics.config_for(&TopicName::new(name).unwrap()).partitions;
        assert_eq!(partitions("audit-web"), 1);
        assert_eq!(partitions("shop-web"), 2);
        assert_eq!(partitions("nginx"), 4);
        assert_eq!(partitions("__skidway.events"), 1);
    }
}
