//! Which file is which: inodes used again, files that begin alike, links, folders and file systems that go and come back, disks that fail.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use skidway_tests::bind::Bind;
use skidway_tests::following::{
    check_lines, check_writers, check_writers_but_missed, following, following_in, following_with,
};
use skidway_tests::fuse::View;
use skidway_tests::image::Image;
use skidway_tests::writer::Writer;
use skidway_tests::{Site, report, scale, topic, wait};

/// Mounts a file system of its own that uses inodes again; a folder in its place, if there can be none.
fn disk(site: &Site) -> Option<Image> {
    match Image::mount(site, 16) {
        Ok(image) => Some(image),
        Err(lack) => {
            report::missing(&format!("{lack}; ran in a plain folder, where inodes may not be used again"));
            std::fs::create_dir_all(site.path("disk")).unwrap();
            None
        }
    }
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// Creates files until one has the inode; gives false if none gets it. Those that did not are removed.
fn create_with_inode(path: &Path, wanted: u64, content: &str) -> bool {
    let aside = |number| path.with_file_name(format!("aside-{number}"));
    for number in 0..1000 {
        std::fs::write(aside(number), content).unwrap();
        if inode(&aside(number)) == wanted {
            rustix::fs::rename(aside(number), path).unwrap();
            (0..number).for_each(|number| std::fs::remove_file(aside(number)).unwrap());
            return true;
        }
    }
    (0..1000).for_each(|number| std::fs::remove_file(aside(number)).unwrap());
    std::fs::write(path, content).unwrap();
    false
}

/// Removes `a.log`, whose lines have arrived, and creates a file named `name` with the same inode, the same first lines, and more.
fn use_inode_again(folder: &Path, name: &str, has_disk: bool) {
    let wanted = inode(&folder.join("a.log"));
    std::fs::remove_file(folder.join("a.log")).unwrap();
    let again = create_with_inode(&folder.join(name), wanted, "1\n2\n3\n");
    assert!(again || !has_disk, "ext4 uses an inode again");
}

/// Scenario 13: the inode goes to a new file, of the same name or another, while the agent is stopped.
#[test]
fn an_inode_used_again_while_the_agent_is_stopped_is_another_file() {
    for name in ["a.log", "b.log"] {
        let site = Site::new();
        let image = disk(&site);
        let folder = site.path("disk");
        let (collector, mut agent) = following_in(&site, &folder, "");
        site.write("disk/a.log", "1\n2\n");
        topic::wait_for(&collector.client(), "app", 2);
        assert_eq!(agent.program().stop(), Some(0));
        use_inode_again(&folder, name, image.is_some());
        agent.start();
        check_lines(&collector, agent, &["1", "1", "2", "2", "3"]);
    }
}

/// Scenario 13, live: the agent has let go of the removed file, or had set it aside, so that its inode is free.
#[test]
fn an_inode_used_again_under_the_agents_eyes_is_another_file() {
    for (name, is_set_aside) in [("a.log", false), ("b.log", false), ("a.log", true), ("b.log", true)] {
        let site = Site::new();
        let image = disk(&site);
        let folder = site.path("disk");
        let keys = if is_set_aside { "open_files_max = 1" } else { "renamed_follow = \"1s\"" };
        let (collector, agent) = following_in(&site, &folder, keys);
        site.write("disk/a.log", "1\n2\n");
        topic::wait_for(&collector.client(), "app", 2);
        wait::until("the lines are acknowledged", || (!agent.has_unacknowledged()).then_some(()));
        if is_set_aside {
            site.write("disk/other.log", "0\n");
            topic::wait_for(&collector.client(), "app", 3);
            use_inode_again(&folder, name, image.is_some());
            check_lines(&collector, agent, &["0", "1", "1", "2", "2", "3"]);
        } else {
            // The name is freed first: the agent holds the inode until it has let go.
            let wanted = inode(&folder.join("a.log"));
            site.remove("disk/a.log");
            agent.wait_until_let_go("/a.log");
            let again = create_with_inode(&folder.join(name), wanted, "1\n2\n3\n");
            assert!(again || image.is_none(), "ext4 uses an inode again");
            check_lines(&collector, agent, &["1", "1", "2", "2", "3"]);
        }
    }
}

#[test]
fn a_file_recreated_while_the_agent_is_stopped_is_another_file() {
    let (site, collector, mut agent) = following();
    site.write("logs/a.log", "1 the first file\n");
    topic::wait_for(&collector.client(), "app", 1);
    assert_eq!(agent.program().stop(), Some(0));
    site.remove("logs/a.log");
    site.write("logs/a.log", "2 the second file, which is longer\n");
    agent.start();
    check_lines(&collector, agent, &["1 the first file", "2 the second file, which is longer"]);
}

/// Scenario 14: the first 1 KiB and more is the same, then they differ.
#[test]
fn files_with_the_same_beginning_are_both_complete() {
    let (site, collector, mut agent) = following();
    let banner = format!("{}\n", "#".repeat(2000));
    site.write("logs/a.log", &banner);
    site.write("logs/b.log", &banner);
    topic::wait_for(&collector.client(), "app", 2);
    site.append("logs/a.log", "a\n");
    site.append("logs/b.log", "b\n");
    topic::wait_for(&collector.client(), "app", 4);
    assert_eq!(agent.program().stop(), Some(0));
    site.append("logs/b.log", "bb\n");
    site.append("logs/a.log", "aa\n");
    agent.start();
    check_lines(&collector, agent, &[banner.trim(), banner.trim(), "a", "aa", "b", "bb"]);
}

/// Scenario 14, of rotation: each new file begins with the same lines as the one before, live and while the agent is stopped.
#[test]
fn a_new_file_that_begins_like_the_renamed_one_is_complete_and_so_is_that() {
    for is_stopped in [false, true] {
        for header in ["header\n".to_owned(), format!("{}\n", "#".repeat(8999))] {
            let (site, collector, mut agent) = following();
            site.write("logs/a.log", format!("{header}1\n"));
            topic::wait_for(&collector.client(), "app", 2);
            if is_stopped {
                assert_eq!(agent.program().stop(), Some(0));
            }
            site.append("logs/a.log", "2\n");
            site.rename("logs/a.log", "logs/a.log.1");
            site.write("logs/a.log", format!("{header}3\n"));
            site.rename("logs/a.log", "logs/a.log.2");
            site.write("logs/a.log", &header);
            site.append("logs/a.log.1", "4\n");
            site.append("logs/a.log", "5\n");
            if is_stopped {
                agent.start();
            }
            let header = header.trim();
            let mut lines = [header, header, header, "1", "2", "3", "4", "5"];
            lines.sort_unstable();
            check_lines(&collector, agent, &lines);
        }
    }
}

/// Scenario 15: a file of one line that never grows, and one of a line without its end.
#[test]
fn tiny_files_are_shipped() {
    let site = Site::new();
    let collector = site.collector().started();
    let input = format!("[[inputs]]\ninclude = [{:?}]\ntopic = \"app\"\n", site.text("logs/*.log"));
    // It is not the listing of folders that finds them.
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"1h\"");
    let mut agent = agent.with(&(input + "partial_flush = \"500ms\"")).started();
    site.write("logs/a.log", "1 twenty bytes long\n");
    topic::wait_for(&collector.client(), "app", 1);
    site.write("logs/b.log", "2 twenty bytes long.");
    topic::wait_for(&collector.client(), "app", 2);
    assert_eq!(agent.program().stop(), Some(0));
    let records = topic::read(&collector.client(), "app");
    let mut seen: Vec<_> = records
        .iter()
        .map(|record| (record.value.as_deref().unwrap(), record.headers.contains_key("skidway-partial")))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("1 twenty bytes long", false), ("2 twenty bytes long.", true)]);
}

/// Scenario 16: a file, a hard link to it and a symbolic one all match.
#[test]
fn a_file_of_several_names_is_shipped_once() {
    let (site, collector, mut agent) = following();
    site.write("logs/m.log", "1\n");
    let path = |name: &str| site.path("logs").join(name);
    for (hard, symbolic) in [("a.log", "b.log"), ("x.log", "y.log")] {
        std::fs::hard_link(path("m.log"), path(hard)).unwrap();
        symlink(path("m.log"), path(symbolic)).unwrap();
    }
    topic::wait_for(&collector.client(), "app", 1);
    site.append("logs/x.log", "2\n");
    topic::wait_for(&collector.client(), "app", 2);
    assert_eq!(agent.program().stop(), Some(0));
    site.append("logs/a.log", "3\n");
    agent.start();
    topic::wait_for(&collector.client(), "app", 3);
    // Names go, the one it was found under among them; the file stays.
    for name in ["a.log", "b.log", "m.log"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    site.append("logs/x.log", "4\n");
    topic::wait_for(&collector.client(), "app", 4);
    site.write("logs/z.log", "5\n");
    site.append("logs/x.log", "6\n");
    check_lines(&collector, agent, &["1", "2", "3", "4", "5", "6"]);
}

/// Scenario 17: a symbolic link is re-pointed every 50 ms, through 30 files of 100 lines. What a loaded machine was too slow to look at in
/// time is counted as missed.
#[test]
fn every_file_a_symbolic_link_pointed_to_arrives() {
    let (site, collector, agent) = following();
    let mut writers = Vec::new();
    for at in 0..30 {
        let mut writer = Writer::new(&site.path("elsewhere"), &format!("w{at}"), u64::MAX, at);
        writer.write(50);
        symlink(site.path(&format!("elsewhere/w{at}.log")), site.path("logs/next")).unwrap();
        site.rename("logs/next", "logs/current.log");
        wait::pause(Duration::from_millis(50));
        writer.write(50);
        writers.push(writer);
    }
    check_writers_but_missed(&collector, agent, writers, 100);
}

/// Scenario 18: a file is moved away for 2 min and back; the agent still follows it, or has let go of it.
#[test]
fn a_file_that_leaves_the_pattern_and_returns_is_not_read_twice() {
    for keys in ["", "renamed_follow = \"1s\""] {
        let (site, collector, agent) = following_with(keys);
        site.write("logs/a.log", "1\n");
        topic::wait_for(&collector.client(), "app", 1);
        site.rename("logs/a.log", "away");
        if !keys.is_empty() {
            agent.wait_until_let_go("/a.log");
        }
        site.append("away", "2\n");
        wait::pause(scale::duration(Duration::from_secs(120), Duration::from_secs(1)));
        site.rename("away", "logs/a.log");
        site.append("logs/a.log", "3\n");
        check_lines(&collector, agent, &["1", "2", "3"]);
    }
}

/// Scenario 18: the folder is a mount that goes away for 2 min and comes back.
#[test]
fn a_folder_unmounted_and_mounted_again_is_not_read_twice() {
    for keys in ["", "renamed_follow = \"1s\""] {
        let site = Site::new();
        site.write("behind/a.log", "1\n");
        let mount = || Bind::mount(&site.path("behind"), &site.path("logs"));
        let Some(bind) = or_missing(mount(), "moving the file away and back ran") else { return };
        let (collector, agent) = following_in(&site, &site.path("logs"), &format!("scan_interval = \"100ms\"\n{keys}"));
        topic::wait_for(&collector.client(), "app", 1);
        drop(bind);
        site.append("behind/a.log", "2\n");
        wait::pause(scale::duration(Duration::from_secs(120), Duration::from_secs(2)));
        let _bind = mount().unwrap();
        site.append("logs/a.log", "3\n");
        site.write("logs/b.log", "4\n");
        check_lines(&collector, agent, &["1", "2", "3", "4"]);
    }
}

/// The folder is renamed, so each file's path is another one; no listing of folders finds what is written then.
#[test]
fn files_of_a_renamed_folder_are_followed_under_their_new_path() {
    let site = Site::new();
    let collector = site.collector().started();
    let agent = site.agent("a", &collector.url()).with_agent("scan_interval = \"1h\"");
    let agent = agent.follows(&site.text("logs/*/*.log"), "app").started();
    let mut file = site.open("logs/before/a.log");
    for line in 1..=6 {
        writeln!(file, "{line}").unwrap();
        topic::wait_for(&collector.client(), "app", line);
        match line {
            2 => site.rename("logs/before", "logs/after"),
            4 => site.rename("logs/after", "logs/before"),
            _ => {}
        }
    }
    check_lines(&collector, agent, &["1", "2", "3", "4", "5", "6"]);
}

/// Gives what a test needs; else says that the machine lacks it, and what runs in its place.
fn or_missing<T>(needed: Result<T, String>, instead: &str) -> Option<T> {
    needed.inspect_err(|lack| report::missing(&format!("{lack}; {instead}"))).ok()
}

/// Scenario 19: the agent is stopped while the file system comes to lie on another device.
#[test]
fn files_on_a_device_of_another_number_are_not_read_twice() {
    let site = Site::new();
    let Some(image) = or_missing(Image::mount(&site, 16), "the table of cases in discover/matching.rs ran") else {
        return;
    };
    let (collector, mut agent) = following_in(&site, image.path(), "");
    let mut writer = Writer::new(image.path(), "w", 64 << 10, 19);
    writer.write_times(10, 200);
    topic::wait_for(&collector.client(), "app", writer.lines());
    assert_eq!(agent.program().stop(), Some(0));
    drop(writer);
    let device = || std::fs::metadata(image.path()).unwrap().dev();
    let before = device();
    image.move_to_another_device().unwrap();
    assert_ne!(device(), before);
    agent.start();
    site.write("disk/a.log", "last\n");
    topic::wait_for(&collector.client(), "app", 2001);
    assert_eq!(agent.program().stop(), Some(0));
    assert_eq!(topic::count(&collector.client(), "app"), 2001);
}

/// Scenario 19, live: the file system goes and comes back while the agent follows its files.
#[test]
fn files_of_a_file_system_mounted_anew_are_not_read_twice() {
    let site = Site::new();
    let Some(image) = or_missing(Image::mount(&site, 16), "the table of cases in discover/matching.rs ran") else {
        return;
    };
    let (collector, agent) = following_in(&site, image.path(), "scan_interval = \"1s\"");
    site.write("disk/a.log", "1\n");
    topic::wait_for(&collector.client(), "app", 1);
    let mut file = site.open("disk/a.log");
    for (absence, line) in [(Duration::ZERO, 2), (Duration::from_secs(2), 4)] {
        image.unmount().unwrap();
        wait::pause(absence);
        image.mount_again().unwrap();
        // Whoever had it open writes on, to the same file.
        writeln!(file, "{line}").unwrap();
        site.write(&format!("disk/b{line}.log"), format!("{}\n", line + 1));
        topic::wait_for(&collector.client(), "app", line + 1);
    }
    check_lines(&collector, agent, &["1", "2", "3", "4", "5"]);
}

/// Scenario 20: reads in the middle of a file fail for once, as a whole and after a part of what was asked for.
#[test]
fn a_read_that_fails_is_tried_again_and_nothing_is_doubled() {
    let site = Site::new();
    let Some(view) = or_missing(View::mount(&site), "the unit tests of tail/handle.rs ran") else { return };
    let faults =
        [(0, Errno::IO), (100_000, Errno::IO), (140_000, Errno::IO), (400_000, Errno::STALE), (700_000, Errno::STALE)];
    let mut writers = Vec::new();
    for (at, (place, error)) in (0..).zip(faults) {
        let mut writer = Writer::new(view.behind(), &format!("w{at}"), u64::MAX, at);
        writer.write(10_000);
        writers.push(writer);
        view.fail_reads(&format!("w{at}.log"), place, error, 1);
    }
    let (collector, agent) = following_in(&site, view.path(), "scan_interval = \"200ms\"");
    wait::until("each read has failed", || (view.failed_reads() >= 5).then_some(()));
    check_writers(&collector, agent, &writers);
}

/// Scenario 20, its other side: a read may give less than was asked for, and the file is longer all the same.
#[test]
fn a_short_read_is_not_taken_for_the_end() {
    let site = Site::new();
    let Some(view) = or_missing(View::mount(&site), "the unit tests of tail/file.rs ran") else { return };
    view.shorten_reads(50_000);
    let mut writer = Writer::new(view.behind(), "w", u64::MAX, 20);
    writer.write(5_000);
    let (collector, mut agent) = following_in(&site, view.path(), "scan_interval = \"200ms\"");
    topic::wait_for(&collector.client(), "app", 5_000);
    assert_eq!(agent.program().stop(), Some(0));
    writer.write(5_000);
    agent.start();
    check_writers(&collector, agent, &[writer]);
}
