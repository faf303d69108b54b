//! HDFS as large sites run it: two NameNodes. The full tier.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skidway_tests::{Hdfs, Site, scale, sink, wait};

use super::each_once;
use super::exactly_once::keep_producing;

const OFTEN: &str = "format = \"raw\"\npath = \"{topic}/%H%M\"\nroll = { records = 500, idle = \"1s\" }";

/// Configures a sink of topics `app*` into a folder.
fn into(hdfs: &Hdfs, name: &str, folder: &str, keys: &str) -> String {
    let url = hdfs.url(folder);
    format!("[[sinks]]\nname = {name:?}\ntopics = [\"app*\"]\nurl = {url:?}\nhdfs = {{ {keys} }}\n{OFTEN}\n")
}

/// Tells whether this run is of the full tier.
fn is_full_tier() -> bool {
    let is_full = scale::scale() > 1;
    if !is_full {
        eprintln!("nothing is tested here: this is of the full tier, scripts/test --full sinks");
    }
    is_full
}

#[test]
fn killing_the_active_namenode_in_mid_write_loses_and_doubles_nothing_when_the_other_takes_over() {
    if !is_full_tier() {
        return;
    }
    let (site, seed, kills) = (Site::new(), scale::seed(), scale::amount(60, 6));
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut hdfs = Hdfs::pair(&site);
    let keys: Vec<String> = hdfs.service_keys().iter().map(|(key, value)| format!("{key:?} = {value:?}")).collect();
    let common = "user = \"skidway\", call_timeout = \"3s\"";
    let by_keys = into(&hdfs, "keys", "/logs/keys", &format!("{common}, options = {{ {} }}", keys.join(", ")));
    let by_files = into(&hdfs, "files", "/logs/files", &format!("{common}, config_dir = {:?}", hdfs.config_dir()));
    let mut collector = site.collector().with(&by_keys).with(&by_files).started();
    let (client, produced, enough) = (collector.client(), AtomicU64::new(0), kills * 3000);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_producing(&client, &produced, enough, |number| format!("line {number}")));
        for kill in 0..kills {
            let (active, other) = ((kill % 2) as usize, (kill % 2) as usize ^ 1);
            wait::until("lines come", || (produced.load(Ordering::SeqCst) >= kill * 2900).then_some(()));
            wait::pause(Duration::from_millis(random.random_range(0..600)));
            hdfs.namenode(active).kill9();
            hdfs.activate(other);
            hdfs.start_namenode(active);
        }
    });
    for name in ["keys", "files"] {
        sink::wait_for(&client, name, enough);
        // What was uploaded in vain is gone, too.
        each_once(hdfs.hadoop.rows(&format!("/logs/{name}")), enough);
    }
    assert_eq!(collector.program().stop(), Some(0));
    let left = hdfs.hadoop.shell("hdfs", &["-ls", "-R", "/logs"]);
    assert!(!left.contains(".skidway-"), "{left}");
}
