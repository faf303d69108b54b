//! The embedded engine passes, on a disk in memory, with segments and batches small enough to have several of each kind.

use std::sync::Arc;
use std::time::Duration;

use skidway_collector::log::Log;
use skidway_collector::log::embedded::EmbeddedLog;
use skidway_commitlog::Config;
use skidway_disk::FaultyDisk;

use crate::suite::{Engine, PARTITIONS};

struct Embedded(FaultyDisk);

impl Engine for Embedded {
    fn new() -> Self {
        Self(FaultyDisk::new())
    }

    fn open(&self) -> Arc<dyn Log> {
        let mut config = Config {
            segment_bytes: 8 << 10,
            inline_batch_bytes_max: 1 << 10,
            journal_step_bytes: 16 << 10,
            checkpoint_bytes: 64 << 10,
            reserve_bytes: 64 << 10,
            recent_bytes_max: 4 << 10,
            retention_interval: Duration::from_secs(3600),
            ..Config::new("/data")
        };
        config.topics.default.partitions = PARTITIONS;
        Arc::new(EmbeddedLog::open(config, Arc::new(self.0.clone())).unwrap())
    }
}

conforms!(Embedded);
