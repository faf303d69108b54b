//! Copies and archives of followed files, against the stub collector.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::{World, rotate};
use crate::pipeline::Exit;
use crate::pipeline::stub::Fault;

#[tokio::test]
async fn a_copy_that_is_passed_over_stays_so_if_the_session_ends_before_the_collector_hears_of_it() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    world.stub.wait(|inner| !inner.opened_inputs.is_empty()).await;
    fs::copy(world.path("a.log"), world.path("a.log.1")).unwrap();
    world.write("a.log", "two\n");
    world.expect(&["t: one", "t: two"]).await;
    // The loss of what was not copied is heard; what comes of that is not, and another session begins.
    world.stub.set(|inner| inner.faults = [Fault::Nothing, Fault::LogChanged].into());
    File::options().write(true).open(world.path("a.log")).unwrap().set_len(0).unwrap();
    world.write("a.log", "three\n");
    world.stub.wait(|inner| inner.epoch == 2).await;
    let found = world.stub.records(|found| found.contains(&"t: three".to_owned())).await;
    assert!(found.contains(&"skipped 0..4".to_owned()), "{found:?}");
    assert_eq!(found.iter().filter(|it| *it == "t: one").count(), 1, "{found:?}");
    running.stop().await;
}

/// Copies the file as logrotate's copytruncate does, and truncates it.
fn copy_and_truncate(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    File::options().write(true).open(from).unwrap().set_len(0).unwrap();
}

#[tokio::test]
async fn what_was_not_read_before_a_truncation_is_read_in_the_copy() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    // The collector is away: nothing is acknowledged while the file is rotated twice.
    world.stub.set(|inner| inner.faults = vec![Fault::Refuse(503); 3].into());
    world.write("a.log", "two\n");
    copy_and_truncate(&world.path("a.log"), &world.path("a.log.1"));
    world.write("a.log", "three\n");
    let told = ["t: one", "lost 4..4 exact=false", "t: two", "t: three", "t: four", "t: five"];
    world.expect(&told[..4]).await;
    world.write("a.log", "four\n");
    world.expect(&told[..5]).await;
    assert_eq!(running.stop().await, Exit::Done);
    world.once().await;
    world.write("a.log", "five\n");
    world.once().await;
    world.expect(&told).await;
}

#[tokio::test]
async fn a_file_copied_and_truncated_while_nobody_looks_is_read_on_in_the_copy() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.write("a.log", "one\n");
    world.once().await;
    world.write("a.log", "two\n");
    copy_and_truncate(&world.path("a.log"), &world.path("a.log.1"));
    world.write("a.log", "three, longer than what was there\n");
    world.once().await;
    world.once().await;
    world.expect(&["t: one", "lost 4..4 exact=false", "t: three, longer than what was there", "t: two"]).await;
}

#[tokio::test]
async fn a_copy_whose_original_stays_is_shipped_after_a_while() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.config.agent.copy_wait = Duration::from_millis(300);
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    fs::copy(world.path("a.log"), world.path("a.log.bak")).unwrap();
    world.expect(&["t: one", "t: one"]).await;
    world.write("a.log.bak", "two\n");
    world.expect(&["t: one", "t: one", "t: two"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_copy_that_lacks_the_last_lines_read_is_passed_over() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    fs::copy(world.path("a.log"), world.path("a.log.1")).unwrap();
    world.write("a.log", "two\n");
    world.expect(&["t: one", "t: two"]).await;
    File::options().write(true).open(world.path("a.log")).unwrap().set_len(0).unwrap();
    world.write("a.log", "three\n");
    let found = world.stub.records(|found| found.iter().any(|it| it == "t: three")).await;
    assert_eq!(found.iter().filter(|it| *it == "t: one").count(), 1, "{found:?}");
    world.write("a.log.1", "four\n");
    let found = world.stub.records(|found| found.iter().any(|it| it == "t: four")).await;
    assert_eq!(found.iter().filter(|it| *it == "t: one").count(), 1, "{found:?}");
    assert!(found.contains(&"skipped 0..4".to_owned()), "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_file_deleted_while_it_was_set_aside_and_nobodys_yet_is_recorded_as_lost() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.config.agent.open_files_max = 1;
    world.config.collector.request_timeout = Duration::from_secs(2);
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    world.stub.wait(|inner| !inner.opened_inputs.is_empty()).await;
    // Whether the source goes on in the copy is not known for two seconds; so long nothing is known of the file that has its name.
    world.stub.set(|inner| inner.faults = [Fault::HangAfterCommit].into());
    copy_and_truncate(&world.path("a.log"), &world.path("a.log.1"));
    world.write("a.log", "two\n");
    world.expect(&["t: one", "lost 4..4 exact=false"]).await;
    world.write("b.log", "three\n");
    world.expect(&["t: one", "lost 4..4 exact=false", "t: three"]).await;
    fs::remove_file(world.path("a.log")).unwrap();
    world.write("b.log", "four\n");
    let found = world.stub.records(|found| found.iter().any(|it| it == "lost 0..0 exact=false")).await;
    assert!(found.contains(&"t: four".to_owned()) && !found.contains(&"t: two".to_owned()), "{found:?}");
    assert_eq!(running.stop().await, Exit::Done);
    world.stub.wait(|inner| inner.sources.iter().any(|it| it.gone_at_ms.is_some())).await;
}

/// Compresses the file as logrotate does: the archive is complete before the file goes.
fn pack(from: &Path, to: &Path) {
    let mut archive = flate2::write::GzEncoder::new(File::create(to).unwrap(), flate2::Compression::fast());
    archive.write_all(&fs::read(from).unwrap()).unwrap();
    archive.finish().unwrap();
    fs::remove_file(from).unwrap();
}

#[tokio::test]
async fn an_archive_is_read_once_and_only_the_rest_of_it_if_its_file_was_read_in_part() {
    for before in ["one\n".to_owned(), (0..5000).map(|line| format!("line {line}\n")).collect()] {
        let mut world = World::new().await;
        world.config.inputs[0].include[0].push('*');
        world.write("a.log", &before);
        world.once().await;
        world.write("a.log", "two\n");
        rotate(&world.path("a.log"), &world.path("a.log.1"));
        pack(&world.path("a.log.1"), &world.path("a.log.1.gz"));
        world.write("a.log", "three\n");
        world.once().await;
        world.once().await;
        let mut found = world.stub.records(|_| true).await.split_off(before.lines().count() - 1);
        found[1..].sort();
        assert_eq!(found[1..], ["t: three", "t: two"]);
    }
}

#[tokio::test]
async fn a_file_packed_under_the_agents_eyes_is_not_read_twice() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.config.agent.renamed_follow = Duration::from_secs(1);
    let running = world.start().await;
    world.write("a.log", "one\n");
    world.expect(&["t: one"]).await;
    rotate(&world.path("a.log"), &world.path("a.log.1"));
    pack(&world.path("a.log.1"), &world.path("a.log.1.gz"));
    world.stub.wait(|inner| inner.sources[0].source.path.ends_with(b"a.log.1.gz")).await;
    world.write("a.log", "two\n");
    world.expect(&["t: one", "t: two"]).await;
    running.stop().await;
    world.once().await;
    world.write("a.log", "three\n");
    world.once().await;
    world.expect(&["t: one", "t: two", "t: three"]).await;
}

#[tokio::test]
async fn what_a_truncated_file_holds_next_is_read_once_though_it_is_packed_before_its_turn() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.config.agent.renamed_follow = Duration::from_millis(500);
    let running = world.start().await;
    world.write("a.log", "one, and more\n");
    world.expect(&["t: one, and more"]).await;
    world.stub.wait(|inner| !inner.opened_inputs.is_empty()).await;
    // The collector is away: what was read before the truncation waits, and what comes after waits for that.
    world.stub.set(|inner| inner.faults = vec![Fault::Refuse(503); 5].into());
    world.write("a.log", "two\n");
    world.stub.wait(|inner| inner.faults.len() < 5).await;
    File::options().write(true).open(world.path("a.log")).unwrap().set_len(0).unwrap();
    world.write("a.log", "three, which is other text\n");
    pack(&world.path("a.log"), &world.path("a.log.gz"));
    let found = world.stub.records(|found| found.iter().any(|it| it.starts_with("t: three"))).await;
    assert!(found.contains(&"t: two".to_owned()), "{found:?}");
    // Its source goes on in the archive once its file is let go of.
    world.stub.wait(|inner| inner.sources.iter().any(|it| it.source.path.ends_with(b"a.log.gz"))).await;
    world.write("b.log", "four\n");
    let found = world.stub.records(|found| found.iter().any(|it| it == "t: four")).await;
    assert_eq!(found.iter().filter(|it| it.starts_with("t: three")).count(), 1, "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn an_archive_is_held_for_its_file_over_a_new_session_though_another_began_alike() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.config.agent.renamed_follow = Duration::from_millis(100);
    let running = world.start().await;
    world.write("a.log", "banner\n");
    world.expect(&["t: banner"]).await;
    fs::remove_file(world.path("a.log")).unwrap();
    world.stub.wait(|inner| inner.sources[0].gone_at_ms.is_some()).await;
    // The collector hears nothing of the new file before the next session.
    world.stub.set(|inner| inner.faults = [Fault::Refuse(503), Fault::Refuse(503), Fault::LogChanged].into());
    world.write("a.log", "banner\ntwo\n");
    world.stub.wait(|inner| inner.faults.len() < 3).await;
    pack(&world.path("a.log"), &world.path("a.log.1.gz"));
    // Seen under the one name before it gets the other.
    world.stub.wait(|inner| inner.faults.len() < 2).await;
    rotate(&world.path("a.log.1.gz"), &world.path("a.log.2.gz"));
    world.stub.wait(|inner| inner.epoch == 2).await;
    world.stub.records(|found| found.contains(&"t: two".to_owned())).await;
    world.write("a.log", "three\n");
    let found = world.stub.records(|found| found.contains(&"t: three".to_owned())).await;
    let count = |text: &str| found.iter().filter(|it| *it == text).count();
    assert_eq!((count("t: banner"), count("t: two")), (2, 1), "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn archives_nobody_knows_are_read_whole_whatever_their_names() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    world.write("plain", "one\ntwo\n");
    pack(&world.path("plain"), &world.path("a.log.gz"));
    fs::write(world.path("b.log.2.zst"), zstd::encode_all(&b"three\nfour"[..], 1).unwrap()).unwrap();
    world.once().await;
    world.once().await;
    let mut found = world.stub.records(|_| true).await;
    found.sort();
    assert_eq!(found, ["t: four…", "t: one", "t: three", "t: two"]);
}

#[tokio::test]
async fn what_cannot_be_decompressed_is_recorded_once_the_archive_is_at_rest() {
    let mut world = World::new().await;
    world.config.inputs[0].include[0].push('*');
    let path = world.path("a.log.1.zst");
    let (first, second) =
        (zstd::encode_all(&b"one\ntwo"[..], 1).unwrap(), zstd::encode_all(&b"\nthree\n"[..], 1).unwrap());
    fs::write(&path, [&first[..], b"no frame at all"].concat()).unwrap();
    let running = world.start().await;
    world.expect(&["t: one", "t: two…"]).await;
    running.stop().await;
    File::open(&path).unwrap().set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let running = world.start().await;
    world.expect(&["t: one", "t: two…", "lost 7..7 exact=false"]).await;
    running.stop().await;
    fs::write(&path, [first, second].concat()).unwrap();
    world.once().await;
    world.expect(&["t: one", "t: two…", "lost 7..7 exact=false", "t: three"]).await;
}
