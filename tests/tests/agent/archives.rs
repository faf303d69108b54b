//! Compressed files: read once, only the rest of them if their file was read in part, also while they are still being written.

use std::io::Write;

use skidway_tests::following::{check_lines, check_writers, following, following_with};
use skidway_tests::writer::Writer;
use skidway_tests::{Site, topic};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Puts an archive in a file's place.
fn pack(site: &Site, path: &str, ending: &str, how: impl Fn(&[u8]) -> Vec<u8>) {
    let bytes = std::fs::read(site.path(path)).unwrap();
    site.write(&format!("{path}.{ending}"), how(&bytes));
    site.remove(path);
}

/// Scenario 21: renamed and compressed while the agent is stopped, half of it unread.
#[test]
fn the_unread_rest_of_a_file_compressed_while_the_agent_is_stopped_arrives_once() {
    for (ending, how) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("zst", zstd)] {
        for lines in [3, 3000] {
            let (site, collector, mut agent) = following();
            let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, lines);
            writer.write(lines);
            topic::wait_for(&collector.client(), "app", lines);
            assert_eq!(agent.program().stop(), Some(0));
            writer.write(lines);
            writer.rename_away();
            pack(&site, "logs/w.log.1", ending, how);
            writer.write(lines);
            agent.start();
            check_writers(&collector, agent, &[writer]);
        }
    }
}

/// Scenario 22: an archive of several members is found while it is still being written; the agent may be killed meanwhile.
#[test]
fn an_archive_still_being_written_arrives_once() {
    for (ending, how) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("zst", zstd)] {
        for is_killed in [false, true] {
            // It is looked at when it is still empty, and again when folders are listed.
            let (site, collector, mut agent) = following_with("scan_interval = \"1s\"");
            let mut writer = Writer::new(&site.path("elsewhere"), "w", u64::MAX, 22);
            writer.write(20_000);
            let bytes = std::fs::read(site.path("elsewhere/w.log")).unwrap();
            let members: Vec<u8> = bytes.chunks(bytes.len() / 3).flat_map(how).collect();
            let mut archive = site.open(&format!("logs/w.log.1.{ending}"));
            for (at, piece) in (1..).zip(members.chunks(members.len() / 5 + 1)) {
                archive.write_all(piece).unwrap();
                topic::wait_for(&collector.client(), "app", 20_000 / 7 * at - 1000);
                if is_killed && at == 3 {
                    agent.program().kill9();
                    agent.start();
                }
            }
            check_writers(&collector, agent, &[writer]);
        }
    }
}

/// Files rotated and compressed one after the other under the agent's eyes, the collector away for a while.
#[test]
fn files_compressed_as_they_are_rotated_lose_and_double_nothing() {
    let (site, mut collector, agent) = following();
    let mut writer = Writer::new(&site.path("logs"), "w", u64::MAX, 23);
    for round in 0..6 {
        writer.write(300);
        writer.rename_away();
        writer.write(100);
        if round == 2 {
            collector.program().kill9();
        }
        pack(&site, "logs/w.log.1", "gz", gzip);
        site.rename("logs/w.log.1.gz", &format!("logs/w.log.{}.gz", 10 - round));
        if round == 4 {
            collector.start();
        }
    }
    check_writers(&collector, agent, &[writer]);
}

/// An archive is looked at before the file it is made of, which is there, too: an older archive had its name before.
#[test]
fn a_file_and_its_archive_found_together_arrive_once() {
    let (site, collector, mut agent) = following();
    agent.program().freeze();
    site.write("logs/a.log.1.gz", gzip(b"1\n2\n"));
    site.rename("logs/a.log.1.gz", "logs/a.log.2.gz");
    site.write("logs/a.log.1", "3\n4\n");
    site.write("logs/a.log.1.gz", gzip(b"3\n4\n"));
    agent.program().thaw();
    topic::wait_for(&collector.client(), "app", 4);
    site.remove("logs/a.log.1");
    site.write("logs/a.log", "5\n");
    check_lines(&collector, agent, &["1", "2", "3", "4", "5"]);
}
