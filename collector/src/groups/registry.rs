//! All groups: found and made here, kept by what is in the topic `__skidway.groups`, and the only place where their changes are written.
//!
//! What changes a group's members or offsets is done in order, one thing after the other: a commit is durable before the next change is decided,
//! so that a partition never moves while a commit of it is on its way. Reads no record, and starts no task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skidway_record::{Offset, TopicPartition};
use tokio::sync::{Notify, mpsc, watch};

use crate::clock::now_ms;
use crate::groups::coordinator::{Coordinator, Limits};
use crate::groups::membership::{Joining, Member, Start};
use crate::groups::offsets::{self, Committed, Entry, GroupState};
use crate::groups::upkeep::{WORK_MAX, Work};
use crate::groups::{GroupError, GroupName, MemberId, Seat, Shard};
use crate::log::{self, Commit, Log, LogError, LogOffsets, StateError, StateTopic};
use crate::metrics;

/// Names the topic of committed offsets, our own.
pub const GROUPS_TOPIC: &str = "__skidway.groups";

/// Generations that are set aside at once, so that none comes again after a start, and hardly one waits for the disk.
const GENERATIONS_AHEAD: u64 = 1_000;

/// Configures groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupsConfig {
    /// How long a member may be silent, if it does not say; 30 s.
    pub session_timeout: Duration,
    /// How long a member may commit what it was given of a partition that moves; 10 s.
    pub rebalance_timeout: Duration,
    /// How long the offsets of a group without members are kept; 7 d.
    pub offsets_retention: Duration,
    /// Groups there may be; 1,000. More get 429.
    pub groups_max: u32,
    /// Members of one group; 1,000. More get 429.
    pub members_max: u32,
}

impl Default for GroupsConfig {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(30),
            rebalance_timeout: Duration::from_secs(10),
            offsets_retention: Duration::from_secs(7 * 86_400),
            groups_max: 1_000,
            members_max: 1_000,
        }
    }
}

/// Holds all groups.
pub struct Groups {
    pub(super) log: Arc<dyn Log>,
    pub(super) state: StateTopic,
    pub(super) config: GroupsConfig,
    groups: Mutex<BTreeMap<GroupName, Arc<Group>>>,
    /// Someone left, or a deadline came nearer.
    pub(super) wake: Notify,
    /// Takes what must be finished, whoever waits for it.
    pub(super) work: mpsc::Sender<Work>,
    pub(super) waiting: Mutex<Option<mpsc::Receiver<Work>>>,
    /// When they were opened, in ms since 1970: until then nobody could have come.
    pub(super) opened_ms: i64,
}

/// Holds one group.
pub(super) struct Group {
    pub(super) name: GroupName,
    core: Mutex<Coordinator>,
    /// Held while the group's members or offsets change, the write included.
    pub(super) order: tokio::sync::Mutex<Stored>,
    /// Tells members the generation in force.
    pub(super) changes: watch::Sender<u64>,
}

/// Is what the topic says of a group itself.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) state: GroupState,
    /// It was deleted or forgotten; whoever still holds it looks for it again.
    pub(super) is_gone: bool,
}

impl Group {
    fn new(name: GroupName, limits: Limits, state: GroupState) -> Self {
        let core = Coordinator::new(name.clone(), limits, state.generation);
        let order = tokio::sync::Mutex::new(Stored { state, is_gone: false });
        Self { name, core: Mutex::new(core), order, changes: watch::Sender::new(0) }
    }

    /// Locks what the group knows. Never held over an `await`.
    pub(super) fn core(&self) -> MutexGuard<'_, Coordinator> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is a group as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: GroupName,
    /// The generation in force.
    pub generation: u64,
    /// Its members, with what they have.
    pub members: Vec<(MemberId, Member)>,
    /// Each partition that is committed or somebody's.
    pub partitions: Vec<PartitionView>,
}

/// Is a partition as a group has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Which.
    pub of: TopicPartition,
    /// What is committed.
    pub committed: Option<Committed>,
    /// How far it reaches; `None` if it is not there any more.
    pub offsets: Option<LogOffsets>,
    /// Who has it.
    pub member: Option<MemberId>,
    /// It moves to another.
    pub is_moving: bool,
}

impl PartitionView {
    /// Counts the records that the group has not committed.
    pub fn lag(&self) -> u64 {
        let Some(offsets) = self.offsets else { return 0 };
        let from = self.committed.as_ref().map_or(offsets.log_start, |it| it.offset.max(offsets.log_start));
        offsets.high_watermark.0.saturating_sub(from.0)
    }
}

impl PartitionView {
    /// Counts the records that were deleted before the group committed them.
    pub fn lost(&self) -> u64 {
        let (Some(offsets), Some(committed)) = (self.offsets, &self.committed) else { return 0 };
        offsets.log_start.0.saturating_sub(committed.offset.0)
    }
}

impl Groups {
    /// Reads what groups have committed.
    ///
    /// # Errors
    /// [`StateError`] (halt).
    pub async fn open(log: Arc<dyn Log>, config: GroupsConfig) -> Result<Self, StateError> {
        let state = StateTopic::open(log.clone(), GROUPS_TOPIC).await?;
        let (work, waiting) = mpsc::channel(WORK_MAX);
        let groups = Self {
            log,
            state,
            config,
            groups: Mutex::default(),
            wake: Notify::new(),
            work,
            waiting: Mutex::new(Some(waiting)),
            opened_ms: now_ms(),
        };
        let (mut states, mut committed) = (BTreeMap::<_, GroupState>::new(), Vec::new());
        for (key, value) in groups.state.entries() {
            let strange = |reason| groups.state.not_understood(&key, reason);
            match offsets::read(&key, &value).map_err(strange)? {
                Entry::Group(name, state) => _ = states.insert(name, state),
                Entry::Offset(name, shard, offset) => committed.push((name, shard, offset)),
            }
        }
        let mut map: BTreeMap<GroupName, Arc<Group>> = BTreeMap::new();
        let limits = groups.limits();
        let new = |name: &GroupName, state| Arc::new(Group::new(name.clone(), limits, state));
        for (name, state) in states {
            map.insert(name.clone(), new(&name, state));
        }
        for (name, shard, offset) in committed {
            let group = map.entry(name.clone()).or_insert_with(|| new(&name, GroupState::default()));
            group.core().committed(vec![(shard, offset)]);
        }
        *groups.locked() = map;
        Ok(groups)
    }

    fn limits(&self) -> Limits {
        Limits { members_max: self.config.members_max as usize, rebalance_timeout: self.config.rebalance_timeout }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<GroupName, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the configuration.
    pub fn config(&self) -> &GroupsConfig {
        &self.config
    }

    pub(super) fn all(&self) -> Vec<Arc<Group>> {
        self.locked().values().cloned().collect()
    }

    /// Finds a group; an error if there is none.
    pub(super) fn find(&self, name: &GroupName) -> Result<Arc<Group>, GroupError> {
        self.locked().get(name).cloned().ok_or_else(|| GroupError::UnknownGroup(name.clone()))
    }

    /// Finds a group, or makes it.
    pub(super) fn find_or_make(&self, name: &GroupName) -> Result<Arc<Group>, GroupError> {
        let max = self.config.groups_max as usize;
        let mut groups = self.locked();
        if let Some(group) = groups.get(name) {
            return Ok(group.clone());
        }
        if groups.len() >= max {
            return Err(GroupError::TooMany { what: "groups (groups.groups_max)", max });
        }
        let group = Arc::new(Group::new(name.clone(), self.limits(), GroupState::default()));
        groups.insert(name.clone(), group.clone());
        Ok(group)
    }

    /// Forgets a group that has neither members nor offsets; its entries are gone already.
    pub(super) fn drop_group(&self, group: &Arc<Group>) {
        let mut groups = self.locked();
        if groups.get(&group.name).is_some_and(|it| Arc::ptr_eq(it, group)) {
            groups.remove(&group.name);
        }
    }

    /// Takes a member in, and gives it what it can have at once.
    ///
    /// # Errors
    /// [`GroupError`]: too many groups or members, the log's own.
    pub async fn join(self: &Arc<Self>, name: GroupName, joining: Joining) -> Result<Seat, GroupError> {
        let groups = self.clone();
        let join = async move {
            loop {
                let group = groups.find_or_make(&name)?;
                let mut stored = group.order.lock().await;
                if stored.is_gone {
                    continue;
                }
                let id = joining.id.clone();
                let changes = group.changes.subscribe();
                group.core().join(joining, Instant::now())?;
                // From here on the member leaves when this is dropped, whatever happens.
                let seat = Seat::new(groups.clone(), group.clone(), id, changes);
                groups.settle(&group, &mut stored).await?;
                drop(stored);
                return Ok(seat);
            }
        };
        self.shielded(join).await
    }

    /// Brings what a group's members have to what they should have. Whoever calls it holds the group's order.
    pub(super) async fn settle(&self, group: &Group, stored: &mut Stored) -> Result<(), GroupError> {
        let topics = self.log.topics();
        let unstarted = {
            let mut core = group.core();
            core.set_topics(&topics);
            core.unstarted()
        };
        let starts = self.starts(unstarted).await?;
        let ahead = {
            let core = group.core();
            (core.generation() >= stored.state.generation && !core.members().is_empty())
                .then(|| core.generation() + GENERATIONS_AHEAD)
        };
        if let Some(generation) = ahead {
            let state = GroupState { generation, active_ms: now_ms() };
            let entry = (offsets::group_key(&group.name), Some(offsets::group_value(state)));
            self.write(group, starts, vec![entry]).await?;
            stored.state = state;
        } else if !starts.is_empty() {
            self.write(group, starts, Vec::new()).await?;
        }
        let rebalanced = group.core().rebalance(Instant::now());
        if let Some(rebalanced) = rebalanced {
            metrics::group_rebalanced(rebalanced.moved);
            tracing::info!(
                group = %group.name, generation = rebalanced.generation, moved = rebalanced.moved, "a group is rebalanced"
            );
            group.changes.send_replace(rebalanced.generation);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Finds where the group starts in partitions that are new to it.
    async fn starts(&self, unstarted: Vec<(Shard, Start)>) -> Result<Vec<(Shard, Committed)>, GroupError> {
        let (log_epoch, at_ms) = (self.log.identity().epoch, now_ms());
        let mut starts = Vec::with_capacity(unstarted.len());
        for (shard, start) in unstarted {
            let offset = match self.start(&shard, start).await {
                Ok(offset) => offset,
                // Deleted a moment ago; the next look at the topics tells.
                Err(LogError::NotFound(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            starts.push((shard, Committed { offset, log_epoch, at_ms, metadata: String::new() }));
        }
        Ok(starts)
    }

    pub(super) async fn start(&self, shard: &Shard, start: Start) -> Result<Offset, LogError> {
        let LogOffsets { log_start, high_watermark, .. } = self.log.offsets(&shard.of())?;
        Ok(match start {
            Start::Earliest => log_start,
            Start::Latest => high_watermark,
            Start::Last(count) => Offset(high_watermark.0.saturating_sub(count)).max(log_start),
            Start::Timestamp(ms) => self.log.offset_at(shard.of(), ms).await?.unwrap_or(high_watermark),
        })
    }

    /// Writes offsets and other entries at once, then lets the group know of the offsets.
    pub(super) async fn write(
        &self,
        group: &Group,
        written: Vec<(Shard, Committed)>,
        entries: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<(), GroupError> {
        self.write_with(group, written, entries, Commit::default()).await.map(drop)
    }

    /// Writes them together with all that is in `with`, whose batches come first in the answer.
    pub(super) async fn write_with(
        &self,
        group: &Group,
        written: Vec<(Shard, Committed)>,
        mut entries: Vec<(Bytes, Option<Bytes>)>,
        with: Commit,
    ) -> Result<log::Committed, GroupError> {
        for (shard, committed) in &written {
            let (key, value) = (offsets::offset_key(&group.name, shard), offsets::offset_value(shard, committed));
            entries.push((key, Some(value)));
        }
        let stored = self.state.write(entries, with).await?;
        group.core().committed(written);
        Ok(stored)
    }

    /// Lists all groups.
    pub fn list(&self) -> Vec<View> {
        self.all().iter().map(|group| self.view(group)).filter(View::is_there).collect()
    }

    /// Shows one group.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`].
    pub fn show(&self, name: &GroupName) -> Result<View, GroupError> {
        let view = self.view(&*self.find(name)?);
        if view.is_there() { Ok(view) } else { Err(GroupError::UnknownGroup(name.clone())) }
    }

    pub(super) fn view(&self, group: &Group) -> View {
        let core = group.core();
        let mut shards: BTreeMap<&Shard, (Option<&MemberId>, bool)> =
            core.offsets().iter().map(|(shard, _)| (shard, (None, false))).collect();
        shards.extend(core.owners().map(|(shard, member, moving)| (shard, (Some(member), moving))));
        let of = |(shard, (member, is_moving)): (&Shard, (Option<&MemberId>, bool))| PartitionView {
            of: shard.of(),
            committed: core.offsets().get(shard).cloned(),
            offsets: self.extent(shard),
            member: member.cloned(),
            is_moving,
        };
        View {
            name: group.name.clone(),
            generation: core.generation(),
            members: core.members().iter().map(|(id, member)| (id.clone(), member.clone())).collect(),
            partitions: shards.into_iter().map(of).collect(),
        }
    }

    /// Tells how far a partition reaches, unless its topic is another one by now.
    pub(super) fn extent(&self, shard: &Shard) -> Option<LogOffsets> {
        let topic = self.log.topic(&shard.topic).filter(|topic| topic.id == shard.id)?;
        self.log.offsets(&TopicPartition { topic: topic.name, partition: shard.partition }).ok()
    }
}

impl View {
    fn is_there(&self) -> bool {
        !self.members.is_empty() || !self.partitions.is_empty()
    }

    /// Counts the records that the group has not committed.
    pub fn lag(&self) -> u64 {
        self.partitions.iter().map(PartitionView::lag).sum()
    }
}

#[cfg(test)]
mod tests {
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
            self.log
                .submit(Commit { batches: vec![(target, batch(records))], ..Commit::default() })
                .await
                .await
                .unwrap();
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
            if reads.len() == 1 && reads[0].shard.id == id && room.groups.show(&group()).unwrap().partitions.len() == 1
            {
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
}
