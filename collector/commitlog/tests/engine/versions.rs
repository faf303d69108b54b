//! Data folders that earlier builds left: `version-2` is one whose checkpoint and journal know no cleanup, left by a killed process.

use skidway_commitlog::Config;
use skidway_commitlog::commit::{Cleanup, TopicConfig};
use skidway_disk::{FaultyDisk, Open};

use crate::*;

const FILES: [(&str, &[u8]); 6] = [
    ("checkpoint", include_bytes!("version-2/checkpoint")),
    ("00000000000000000002.journal", include_bytes!("version-2/00000000000000000002.journal")),
    ("topics/a-0/partition.metadata", include_bytes!("version-2/topics/a-0/partition.metadata")),
    ("topics/a-0/00000000000000000000.log", include_bytes!("version-2/topics/a-0/00000000000000000000.log")),
    ("topics/b-0/partition.metadata", include_bytes!("version-2/topics/b-0/partition.metadata")),
    ("topics/b-0/00000000000000000000.log", include_bytes!("version-2/topics/b-0/00000000000000000000.log")),
];

fn left_by_an_earlier_build() -> FaultyDisk {
    let disk = FaultyDisk::new();
    for (name, bytes) in FILES {
        disk.create_dir(data(name).parent().unwrap()).unwrap();
        disk.open(&data(name), Open::OrCreate).unwrap().write_at(bytes, 0).unwrap();
    }
    disk
}

#[test]
fn a_data_folder_of_version_2_is_read_and_goes_on() {
    let disk = left_by_an_earlier_build();
    for life in 0..3 {
        let opened = open_with(&disk, Config { retention_interval: Duration::from_secs(3_600), ..config() }).unwrap();
        let config = |name| opened.log.topic(&topic(name)).unwrap().config;
        let a = TopicConfig {
            partitions: 2,
            retention_age_ms: None,
            retention_bytes: Some(12_345),
            ..TopicConfig::default()
        };
        assert_eq!(config("a"), a);
        assert_eq!((config("b").retention_age_ms, config("b").cleanup), (Some(77), Cleanup::Delete));
        let more = (0..life).map(|life| life.to_string());
        assert_eq!(opened.lines(&partition("a", 0)), ["saved", "journaled"]);
        assert_eq!(opened.lines(&partition("b", 0)), ["new".to_owned()].into_iter().chain(more).collect::<Vec<_>>());
        assert_eq!(opened.agents().unwrap()[0].session.agent, agent_id("web"));
        opened.append(&partition("b", 0), &[&life.to_string()]).unwrap();
        if life == 1 {
            opened.log.close().unwrap();
        }
    }
}

#[test]
fn a_log_of_version_2_verifies_clean() {
    let disk: Arc<dyn Disk> = Arc::new(left_by_an_earlier_build());
    let mut findings = Vec::new();
    let checked = skidway_commitlog::inspect::verify(&config(), &disk, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!((findings, checked.commits), (Vec::new(), 3));
}
