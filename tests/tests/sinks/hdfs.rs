//! Topics as files of a real HDFS, read back by Hadoop's own shell.

use std::sync::atomic::{AtomicU64, Ordering};

use skidway_tests::program::run;
use skidway_tests::{Hdfs, Site, scale, sink, wait};

use super::exactly_once::{every_line_of_its_file, keep_producing, kill_often, real_logs};
use super::{each_once, produce};

/// Configures a sink of topics `app*` into a folder, as a user who may write below `/logs` only.
fn into(hdfs: &Hdfs, name: &str, folder: &str, keys: &str) -> String {
    let url = hdfs.url(folder);
    format!(
        "[[sinks]]\nname = {name:?}\ntopics = [\"app*\"]\nurl = {url:?}\n\
         hdfs = {{ user = \"skidway\", call_timeout = \"3s\" }}\n{keys}\n"
    )
}

const OFTEN: &str = "format = \"raw\"\npath = \"{topic}/%H%M\"\nroll = { records = 500, idle = \"1s\" }";

#[test]
fn hadoop_reads_every_line_of_sixteen_real_logs_once_and_in_its_order() {
    let site = Site::new();
    let hdfs = Hdfs::started(&site);
    let keys = "columns = [\"path\", \"offset\", \"value\"]\nroll = { bytes = \"64KiB\", idle = \"1s\" }";
    let small = "format = \"raw\"\nroll = { idle = \"1s\" }";
    let sinks = into(&hdfs, "archive", "/logs/rows", keys) + &into(&hdfs, "raw", "/logs/raw/deep", small);
    let mut collector = site.collector().with(&sinks).started();
    let agent = site.agent("a", &collector.url()).follows(&format!("{}/*.log", real_logs().display()), "app");
    let _agent = agent.started();
    sink::wait_for(&collector.client(), "archive", 32_000);
    sink::wait_for(&collector.client(), "raw", 32_000);
    let rows = hdfs.hadoop.rows("/logs/rows");
    assert_eq!((rows.len(), hdfs.hadoop.rows("/logs/raw").len()), (32_000, 32_000));
    every_line_of_its_file(rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect());
    assert_eq!(collector.program().stop(), Some(0));
    let left = hdfs.hadoop.shell("hdfs", &["-ls", "-R", "/logs"]);
    assert!(!left.contains(".skidway-"), "{left}");
}

#[test]
fn killing_the_collector_while_files_roll_loses_and_doubles_nothing_in_hdfs() {
    let (site, seed, kills) = (Site::new(), scale::seed(), scale::amount(200, 6));
    eprintln!("seed {seed}");
    let hdfs = Hdfs::started(&site);
    let mut collector = site.collector().with(&into(&hdfs, "archive", "/logs/out", OFTEN)).started();
    let enough = kill_often(&mut collector, (seed, kills, 600), |number| format!("line {number}"));
    sink::wait_for(&collector.client(), "archive", enough);
    each_once(hdfs.hadoop.rows("/logs/out"), enough);
    assert_eq!(collector.program().stop(), Some(0));
    let left = hdfs.hadoop.shell("hdfs", &["-ls", "-R", "/logs"]);
    assert!(!left.contains(".skidway-"), "{left}");
}

#[test]
fn a_namenode_that_is_killed_or_hangs_is_waited_for_and_nothing_is_doubled() {
    let site = Site::new();
    let mut hdfs = Hdfs::started(&site);
    let mut collector = site.collector().with(&into(&hdfs, "archive", "/logs/out", OFTEN)).started();
    let (client, produced, enough) = (collector.client(), AtomicU64::new(0), 6000);
    let fails = || sink::stands(&client, "archive").filter(|sink| sink["state"] == "failing");
    std::thread::scope(|scope| {
        scope.spawn(|| keep_producing(&client, &produced, enough, |number| format!("line {number}")));
        wait::until("lines come", || (produced.load(Ordering::SeqCst) >= 1500).then_some(()));
        hdfs.namenode(0).kill9();
        let trouble = wait::until("the sink tells", fails)["trouble"].as_str().unwrap().to_owned();
        assert!(trouble.contains("does not answer") && !trouble.contains('\n'), "{trouble}");
        hdfs.start_namenode(0);
    });
    sink::wait_for(&client, "archive", enough);

    hdfs.namenode(0).freeze();
    produce(&client, "app", enough..enough + 2000);
    let trouble = wait::until("the sink tells", fails)["trouble"].as_str().unwrap().to_owned();
    assert!(trouble.contains("no answer within 3"), "{trouble}");
    hdfs.namenode(0).thaw();
    sink::wait_for(&client, "archive", enough + 2000);
    each_once(hdfs.hadoop.rows("/logs/out"), enough + 2000);
    assert_eq!(collector.program().stop(), Some(0));
}

#[test]
fn what_a_user_may_not_do_is_one_line_and_others_go_on() {
    let site = Site::new();
    let hdfs = Hdfs::started(&site);
    let sinks = into(&hdfs, "denied", "/private", OFTEN) + &into(&hdfs, "archive", "/logs/out", OFTEN);
    let collector = site.collector().with(&sinks).started();
    let client = collector.client();
    produce(&client, "app", 0..1000);
    sink::wait_for(&client, "archive", 1000);
    each_once(hdfs.hadoop.rows("/logs/out"), 1000);
    let (code, said) = run("skidway", &["sinks", "--url", &collector.url()]);
    let is_told = said.contains("Permission denied: user=skidway") && said.contains("hdfs.user");
    assert!(code == Some(0) && is_told && !said.contains("\tat "), "{said}");

    hdfs.hadoop.shell("hdfs", &["-mkdir", "/private"]);
    hdfs.hadoop.shell("hdfs", &["-chown", "skidway", "/private"]);
    sink::wait_for(&client, "denied", 1000);
    each_once(hdfs.hadoop.rows("/private"), 1000);
}
