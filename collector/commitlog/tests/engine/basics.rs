//! What is committed can be read back, at the head, from segments, by offset and by time.

use skidway_commitlog::commit::{Commit, Refusal, Target, TopicChange, TopicSettings};
use skidway_commitlog::{CommitLog, Config, Error};
use skidway_disk::{FaultyDisk, RealDisk};
use skidway_record::Offset;

use crate::*;

#[test]
fn committed_lines_are_read_back_in_order() {
    let opened = open(&FaultyDisk::new()).unwrap();
    let nginx = partition("nginx", 2);
    assert_eq!(opened.append(&nginx, &["a", "b"]).unwrap().appended[0].base_offset, Offset(0));
    assert_eq!(opened.append(&nginx, &["c"]).unwrap().appended[0].base_offset, Offset(2));
    assert_eq!(opened.lines(&nginx), ["a", "b", "c"]);
    assert_eq!(opened.heard.published.lock().unwrap().last(), Some(&(nginx, Offset(3))));
}

#[test]
fn a_closed_log_opens_with_everything_in_it() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let identity = opened.log.identity();
    opened.append(&partition("a", 0), &["1", "2"]).unwrap();
    opened.append(&partition("b", 3), &["3"]).unwrap();
    opened.log.close().unwrap();
    disk.crash(1);
    let opened = open(&disk).unwrap();
    assert_eq!(opened.log.identity(), identity);
    assert_eq!(opened.lines(&partition("a", 0)), ["1", "2"]);
    assert_eq!(opened.lines(&partition("b", 3)), ["3"]);
    assert_eq!(opened.append(&partition("b", 3), &["4"]).unwrap().appended[0].base_offset, Offset(1));
}

#[test]
fn old_lines_are_read_from_many_segments_by_any_offset() {
    let disk = FaultyDisk::new();
    let mut opened = open(&disk).unwrap();
    let wide = partition("wide", 0);
    let lines: Vec<String> = (0..300).map(|n| format!("{n} {}", noise(n, 400))).collect();
    for three in lines.chunks(3) {
        let three: Vec<&str> = three.iter().map(String::as_str).collect();
        opened.append(&wide, &three).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(opened.lines(&wide), lines);
        for at in [0, 1, 2, 3, 100, 101, 298, 299] {
            let fetched = opened.log.fetch(&wide, Offset(at), 1).unwrap();
            let first = &fetched.batches[0];
            assert!(first.base_offset().0 <= at && at < first.next_offset().0, "{at}");
            assert_eq!(fetched.batches.len(), 1);
        }
        opened.log.close().unwrap();
        let names: Vec<_> = disk.list(&data("topics/wide-0")).unwrap().into_iter().map(|entry| entry.name).collect();
        assert!(names.len() > 9, "{names:?}");
        opened = open(&disk).unwrap();
    }
}

#[test]
fn records_are_found_by_time() {
    let opened = open(&FaultyDisk::new()).unwrap();
    let timed = partition("timed", 0);
    for n in 0..200 {
        let batch = batch_at(n * 10, &[&noise(n as u64, 300), "second"]);
        let batches = vec![(Target::Partition(timed.clone()), batch)];
        opened.commit(Commit { batches, ..Commit::default() }).unwrap();
    }
    for (timestamp_ms, expected) in
        [(-5, Some(0)), (0, Some(0)), (1, Some(2)), (10, Some(2)), (995, Some(200)), (1990, Some(398)), (1991, None)]
    {
        let found = opened.log.offset_at(&timed, timestamp_ms).unwrap();
        assert_eq!(found, expected.map(Offset), "{timestamp_ms}");
    }
}

#[test]
fn reading_outside_the_log_says_where_it_is() {
    let opened = open(&FaultyDisk::new()).unwrap();
    let a = partition("a", 0);
    opened.append(&a, &["x"]).unwrap();
    assert!(opened.log.fetch(&a, Offset(1), 100).unwrap().batches.is_empty());
    assert!(matches!(opened.log.fetch(&a, Offset(2), 100), Err(Error::OffsetOutOfRange { .. })));
    assert!(matches!(opened.log.fetch(&partition("a", 9), Offset(0), 100), Err(Error::UnknownPartition(_))));
    assert!(matches!(opened.log.fetch(&partition("no", 0), Offset(0), 100), Err(Error::UnknownPartition(_))));
}

#[test]
fn a_commit_over_several_topics_is_one() {
    let opened = open(&FaultyDisk::new()).unwrap();
    let batches = [("a", 0, "1"), ("b", 0, "2"), ("a", 0, "3"), ("a", 1, "4")];
    let batches = batches.map(|(name, n, line)| (Target::Partition(partition(name, n)), batch(&[line])));
    let committed = opened.commit(Commit { batches: batches.to_vec(), ..Commit::default() }).unwrap();
    assert_eq!(committed.appended.iter().map(|one| one.base_offset.0).collect::<Vec<_>>(), [0, 0, 1, 0]);
    assert_eq!(opened.lines(&partition("a", 0)), ["1", "3"]);
    let mixed = [("a", 0), ("a", 99)].map(|(name, n)| (Target::Partition(partition(name, n)), batch(&["x"])));
    let refused = opened.commit(Commit { batches: mixed.to_vec(), ..Commit::default() });
    assert!(matches!(refused, Err(Error::Refused(Refusal::UnknownPartition { .. }))));
    assert_eq!(opened.lines(&partition("a", 0)), ["1", "3"]);
}

#[test]
fn a_reader_beside_the_writer_sees_every_line_once_and_in_order() {
    let mut config = config();
    config.recent_bytes_max = 2 << 10;
    let opened = open_with(&FaultyDisk::new(), config).unwrap();
    let a = partition("a", 0);
    opened.append(&a, &["0"]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (1..400).for_each(|n| drop(opened.append(&a, &[&n.to_string()]).unwrap())));
        let (mut at, mut seen) = (Offset(0), Vec::new());
        while seen.len() < 400 {
            for batch in opened.log.fetch(&a, at, 500).unwrap().batches {
                seen.extend(values(&batch));
                at = batch.next_offset();
            }
        }
        assert!(seen.iter().enumerate().all(|(n, line)| *line == n.to_string()));
    });
}

#[test]
fn a_recreated_topic_is_another_one() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let a = partition("a", 0);
    opened.append(&a, &["old"]).unwrap();
    let old = opened.log.topic(&a.topic).unwrap();
    assert!(opened.alter(TopicChange::Delete(topic("a"))).unwrap().changed);
    assert!(opened.log.topics().is_empty());
    assert!(!opened.alter(TopicChange::Delete(topic("a"))).unwrap().changed);
    opened.append(&a, &["new"]).unwrap();
    assert_ne!(opened.log.topic(&a.topic).unwrap().id, old.id);
    assert_eq!(opened.lines(&a), ["new"]);
    drop(opened);
    disk.crash(7);
    let opened = open(&disk).unwrap();
    assert_eq!(opened.lines(&a), ["new"]);
    let names: Vec<_> = disk.list(&data("topics")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a-0"]);
}

#[test]
fn partitions_can_only_grow() {
    let opened = open(&FaultyDisk::new()).unwrap();
    let put = |partitions| {
        let settings = TopicSettings { partitions: Some(partitions), ..TopicSettings::default() };
        opened.alter(TopicChange::Put(topic("t"), settings))
    };
    assert!(put(2).unwrap().created);
    assert!(put(5).unwrap().changed);
    assert!(!put(5).unwrap().changed);
    assert!(matches!(put(4), Err(Error::Refused(Refusal::FewerPartitions { have: 5, asked: 4, .. }))));
    assert!(matches!(put(1001), Err(Error::Refused(Refusal::PartitionCount(1001)))));
    opened.append(&partition("t", 4), &["x"]).unwrap();
}

#[test]
fn retention_drops_whole_segments_and_their_files() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.topics.default.retention_bytes = Some(20 << 10);
    config.retention_interval = Duration::from_millis(10);
    config.recent_bytes_max = 0;
    let opened = open_with(&disk, config.clone()).unwrap();
    let a = partition("a", 0);
    for n in 0..200 {
        opened.append(&a, &[&noise(n, 500)]).unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let kept = loop {
        let offsets = opened.log.offsets(&a).unwrap();
        let files = disk.list(&data("topics/a-0")).unwrap().len();
        if offsets.bytes <= 32 << 10 && files <= 3 * 4 + 1 {
            break offsets;
        }
        assert!(std::time::Instant::now() < deadline, "{offsets:?}, {files} files");
        opened.agents().unwrap();
    };
    assert!(kept.log_start > Offset(100));
    assert!(matches!(opened.log.fetch(&a, Offset(0), 1), Err(Error::OffsetOutOfRange { .. })));
    drop(opened);
    disk.crash(3);
    let opened = open_with(&disk, config).unwrap();
    assert!(opened.log.offsets(&a).unwrap().log_start >= kept.log_start);
    assert_eq!(opened.lines(&a).len() as u64, 200 - opened.log.offsets(&a).unwrap().log_start.0);
}

#[test]
fn the_real_disk_keeps_a_log_and_locks_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: folder.path().join("data"), ..config() };
    let again = || CommitLog::open(config.clone(), Arc::new(RealDisk), Arc::new(Heard::default()));
    let a = partition("a", 0);
    let lines: Vec<String> = (0..200).map(|n| noise(n, 600)).collect();
    let opened = Opened { log: again().unwrap(), heard: Arc::default() };
    for line in &lines {
        opened.append(&a, &[line]).unwrap();
    }
    assert!(matches!(again(), Err(Error::InUse(_))));
    assert_eq!(opened.lines(&a), lines);
    drop(opened);
    let opened = Opened { log: again().unwrap(), heard: Arc::default() };
    assert_eq!(opened.lines(&a), lines);
    opened.log.close().unwrap();
    let opened = Opened { log: again().unwrap(), heard: Arc::default() };
    assert_eq!(opened.lines(&a), lines);
}

#[test]
fn records_are_deleted_up_to_any_offset_and_stay_so() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let a = partition("a", 0);
    opened.append(&a, &["0", "1", "2"]).unwrap();
    opened.append(&a, &["3"]).unwrap();
    let delete = |opened: &Opened, before| {
        opened.alter(TopicChange::DeleteRecords { partition: partition("a", 0), before: Offset(before) })
    };
    let start = |opened: &Opened| opened.log.offsets(&partition("a", 0)).unwrap().log_start;
    assert!(delete(&opened, 2).unwrap().changed);
    assert_eq!(start(&opened), Offset(2));
    assert!(!delete(&opened, 1).unwrap().changed, "what is gone is gone");
    assert!(matches!(delete(&opened, 5), Err(Error::Refused(Refusal::BeyondEnd { current: Offset(4) }))));
    assert!(matches!(opened.log.fetch(&a, Offset(1), 100), Err(Error::OffsetOutOfRange { .. })));
    assert_eq!(opened.log.offset_at(&a, 0).unwrap(), Some(Offset(2)));
    drop(opened);
    disk.crash(1);
    let opened = open(&disk).unwrap();
    assert_eq!(start(&opened), Offset(2));
    delete(&opened, 4).unwrap();
    assert!(opened.lines(&a).is_empty());
    assert_eq!(opened.append(&a, &["4"]).unwrap().appended[0].base_offset, Offset(4));
    assert_eq!(opened.lines(&a), ["4"]);
    opened.log.close().unwrap();
    let opened = open(&disk).unwrap();
    assert_eq!(opened.lines(&a), ["4"]);
    assert_eq!(disk.list(&data("topics/a-0")).unwrap().len(), 4, "one segment and the folder's own file");
}

#[test]
fn topics_follow_the_rules_but_in_what_is_their_own() {
    let disk = FaultyDisk::new();
    let opened = open(&disk).unwrap();
    let own = TopicSettings { retention_bytes: Some(Some(1)), ..TopicSettings::default() };
    opened.alter(TopicChange::Put(topic("own"), own)).unwrap();
    opened.alter(TopicChange::Ensure(topic("plain"))).unwrap();
    let retention = |opened: &Opened, name: &str| {
        let config = opened.log.topic(&topic(name)).unwrap().config;
        (config.partitions, config.retention_age_ms, config.retention_bytes)
    };
    let mut changed = config();
    changed.topics.default.partitions = 9;
    changed.topics.default.retention_age_ms = Some(7);
    changed.topics.default.retention_bytes = None;
    answered(|done| opened.log.change_defaults(changed.topics.clone(), done)).unwrap();
    let expected = [(4, Some(7), Some(1)), (4, Some(7), None)];
    assert_eq!([retention(&opened, "own"), retention(&opened, "plain")], expected);
    drop(opened);
    let opened = open_with(&disk, changed).unwrap();
    assert_eq!([retention(&opened, "own"), retention(&opened, "plain")], expected);
    let opened_again = {
        drop(opened);
        open(&disk).unwrap()
    };
    opened_again.session("web").unwrap();
    assert_eq!(retention(&opened_again, "plain").2, Some(10 << 30), "at a start the configuration counts");
}

#[test]
fn what_was_dropped_of_a_deleted_topic_takes_nothing_from_its_successor() {
    let (disk, a) = (FaultyDisk::new(), partition("a", 0));
    for round in 0..30 {
        let opened = open(&disk).unwrap();
        opened.append(&a, &["old", "older"]).unwrap();
        // One after the other without waiting: they share a group, and no checkpoint comes between.
        let (send, receive) = sync_channel(3);
        let told = [send.clone(), send.clone(), send];
        let changes = [
            TopicChange::DeleteRecords { partition: a.clone(), before: Offset(2) },
            TopicChange::Delete(topic("a")),
            TopicChange::Ensure(topic("a")),
        ];
        for (change, told) in changes.into_iter().zip(told) {
            opened.log.alter_topic(change, move |done| told.send(done.is_ok()).unwrap());
        }
        assert!(receive.iter().take(3).all(|done| done));
        let line = format!("new {round}");
        opened.append(&a, &[&line]).unwrap();
        opened.log.close().unwrap();
        let opened = open(&disk).unwrap();
        assert_eq!(opened.lines(&a), [line]);
        opened.alter(TopicChange::Delete(topic("a"))).unwrap();
    }
}
