//! Groups over a real log: what is written, what is found again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skidway_commitlog::Config as EngineConfig;
use skidway_disk::RealDisk;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders, Offset, TopicName, TopicPartition};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::groups::commits::ResetTo;
use crate::groups::membership::Joining;
use crate::groups::{GroupError, GroupName, Groups, GroupsConfig, MemberId, Seat, Start};
use crate::log::embedded::EmbeddedLog;
use crate::log::{Commit, Log, LogReader, LogWriter, Target, TopicChange, TopicSettings};

/// Groups over a log with a topic `t` of two partitions, with their task running.
struct Room {
    log: Arc<EmbeddedLog>,
    groups: Arc<Groups>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Room {
    async fn open(folder: &Path, config: GroupsConfig) -> Self {
        let log = Arc::new(EmbeddedLog::open(EngineConfig::new(folder), Arc::new(RealDisk)).unwrap());
        let settings = TopicSettings { partitions: Some(2), ..TopicSettings::default() };
        log.alter_topic(TopicChange::Put(topic(), settings)).await.unwrap();
        let groups = Arc::new(Groups::open(log.clone() as Arc<dyn Log>, config).await.unwrap());
        let stop = CancellationToken::new();
        // A test is its own wiring.
        #[expect(clippy::disallowed_methods, reason = "a test wires what it tests")]
        let task = tokio::spawn(groups.clone().run(stop.clone()));
        Self { log, groups, stop, task }
    }

    /// Lets go of the folder, so that it can be opened again.
    async fn close(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn produce(&self, partition: u32, records: u32) {
        let target = Target::Partition(of(partition));
        self.log.submit(Commit { batches: vec![(target, batch(records))], ..Commit::default() }).await.await.unwrap();
    }

    async fn join(&self, member: &str, start: Start) -> Seat {
        let joining = Joining {
            id: MemberId::new(member).unwrap(),
            client: "test".to_owned(),
            at_ms: 0,
            topics: vec!["t".to_owned()],
            start,
            session_timeout: Duration::from_secs(30),
        };
        self.groups.join(group(), joining).await.unwrap()
    }

    fn committed(&self) -> Vec<Option<u64>> {
        let view = self.groups.show(&group()).unwrap();
        view.partitions.iter().map(|it| it.committed.as_ref().map(|it| it.offset.0)).collect()
    }

    async fn commit(&self, offsets: &[u64]) -> Result<(), GroupError> {
        let offsets = offsets.iter().enumerate().map(|(partition, at)| (of(partition as u32), Offset(*at)));
        self.groups.commit_offsets(group(), None, offsets.collect(), String::new()).await.map(drop)
    }
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

fn of(partition: u32) -> TopicPartition {
    TopicPartition::new(topic(), partition)
}

fn batch(records: u32) -> Batch {
    let mut builder = BatchBuilder::new();
    (0..records).for_each(|_| builder.push(0, None, Some(b"x"), &EncodedHeaders::none()));
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_start_and_generations_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let generation = {
        let room = Room::open(temp.path(), GroupsConfig::default()).await;
        room.produce(0, 9).await;
        room.commit(&[5, 0]).await.unwrap();
        room.commit(&[3, 0]).await.unwrap();
        assert_eq!(room.committed(), [Some(5), Some(0)], "a committed offset never moves back");
        let member = room.join("a", Start::Earliest).await;
        let generation = room.groups.show(&group()).unwrap().generation;
        drop(member);
        room.close().await;
        generation
    };
    let room = Room::open(temp.path(), GroupsConfig::default()).await;
    assert_eq!(room.committed(), [Some(5), Some(0)]);
    let _member = room.join("b", Start::Earliest).await;
    assert!(room.groups.show(&group()).unwrap().generation > generation);
}

#[tokio::test]
async fn where_a_group_starts_is_committed_before_anything_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let room = Room::open(temp.path(), GroupsConfig::default()).await;
    room.produce(0, 9).await;
    let mut member = room.join("a", Start::Latest).await;
    assert_eq!(room.committed(), [Some(9), Some(0)]);
    drop(member);
    room.produce(0, 1).await;
    member = room.join("b", Start::Latest).await;
    assert_eq!(member.holding().unwrap().reads[0].at, Offset(9), "what came while nobody was there is not lost");
}

#[tokio::test]
async fn offsets_past_the_end_and_partitions_that_are_not_there_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let room = Room::open(temp.path(), GroupsConfig::default()).await;
    room.produce(0, 3).await;
    assert!(matches!(room.commit(&[4]).await, Err(GroupError::BeyondEnd { .. })));
    assert!(matches!(room.commit(&[1, 0, 0]).await, Err(GroupError::UnknownPartition(_))));
    assert!(matches!(room.groups.show(&group()), Err(GroupError::UnknownGroup(_))), "nothing is half applied");
}

#[tokio::test]
async fn a_reset_needs_an_empty_group_or_force_and_a_dry_run_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let room = Room::open(temp.path(), GroupsConfig::default()).await;
    room.produce(0, 9).await;
    room.commit(&[5, 0]).await.unwrap();
    let to = |start| ResetTo::Start(vec!["t".to_owned()], start);
    let planned = room.groups.reset(group(), to(Start::Latest), false, true).await.unwrap();
    assert_eq!((planned[0].from, planned[0].to), (Some(Offset(5)), Offset(9)));
    assert_eq!(room.committed(), [Some(5), Some(0)]);
    let mut member = room.join("a", Start::Earliest).await;
    let refused = room.groups.reset(group(), to(Start::Earliest), false, false).await;
    assert!(matches!(refused, Err(GroupError::HasMembers { .. })));
    room.groups.reset(group(), to(Start::Earliest), true, false).await.unwrap();
    assert_eq!(member.holding().unwrap().reads[0].at, Offset(0));
    assert_eq!(room.committed(), [Some(0), Some(0)]);
}

#[tokio::test]
async fn a_group_is_deleted_only_when_nobody_is_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let room = Room::open(temp.path(), GroupsConfig::default()).await;
    let member = room.join("a", Start::Earliest).await;
    assert!(matches!(room.groups.delete(group()).await, Err(GroupError::HasMembers { .. })));
    drop(member);
    room.groups.delete(group()).await.unwrap();
    assert!(room.groups.list().is_empty());
    assert!(matches!(room.groups.delete(group()).await, Err(GroupError::UnknownGroup(_))));
}

#[tokio::test]
async fn a_deleted_topics_offsets_are_forgotten_and_those_of_a_recreated_one_begin_anew() {
    let temp = tempfile::tempdir().unwrap();
    let config = GroupsConfig { offsets_retention: Duration::from_secs(1), ..GroupsConfig::default() };
    let room = Room::open(temp.path(), config).await;
    room.produce(0, 9).await;
    let mut member = room.join("a", Start::Latest).await;
    room.log.alter_topic(TopicChange::Delete(topic())).await.unwrap();
    let settings = TopicSettings { partitions: Some(1), ..TopicSettings::default() };
    room.log.alter_topic(TopicChange::Put(topic(), settings)).await.unwrap();
    room.produce(0, 2).await;
    let id = room.log.topic(&topic()).unwrap().id;
    loop {
        let reads = member.holding().unwrap().reads;
        if reads.len() == 1 && reads[0].shard.id == id && room.groups.show(&group()).unwrap().partitions.len() == 1 {
            assert_eq!(reads[0].at, Offset(0), "from its first record on");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_offsets_of_a_group_that_stays_away_are_forgotten() {
    let temp = tempfile::tempdir().unwrap();
    let config = GroupsConfig { offsets_retention: Duration::from_secs(1), ..GroupsConfig::default() };
    let room = Room::open(temp.path(), config).await;
    drop(room.join("a", Start::Earliest).await);
    while !room.groups.list().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(room.groups.state.entries().is_empty());
}
