//! HDFS as large sites run it: two NameNodes, Kerberos. The full tier.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skidway_tests::program::run;
use skidway_tests::{Hdfs, Kerberos, Site, scale, sink, wait};

use super::exactly_once::keep_producing;
use super::{each_once, produce};

const OFTEN: &str = "format = \"raw\"\npath = \"{topic}/%H%M\"\nroll = { records = 500, idle = \"1s\" }";

/// Configures a sink of topics `app*` into a folder.
fn into(hdfs: &Hdfs, name: &str, folder: &str, keys: &str) -> String {
    let url = hdfs.url(folder);
    format!("[[sinks]]\nname = {name:?}\ntopics = [\"app*\"]\nurl = {url:?}\nhdfs = {{ {keys} }}\n{OFTEN}\n")
}

#[test]
fn killing_the_active_namenode_in_mid_write_loses_and_doubles_nothing_when_the_other_takes_over() {
    if scale::scale() == 1 {
        return eprintln!("of the full tier: scripts/test --full sinks");
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

/// Configures a sink that gets tickets of user `skidway` by a keytab.
fn with_tickets(hdfs: &Hdfs, name: &str, keytab: &Path) -> String {
    let keys = "call_timeout = \"3s\", principal = \"skidway@SKIDWAY.TEST\"";
    let keys = format!("{keys}, keytab = {keytab:?}, config_dir = {:?}", hdfs.config_dir());
    into(hdfs, name, &format!("/logs/{name}"), &keys)
}

#[test]
fn with_kerberos_a_sink_writes_as_its_principal_longer_than_a_ticket_lives() {
    if scale::scale() == 1 {
        return eprintln!("of the full tier: scripts/test --full sinks");
    }
    let (site, lives) = (Site::new(), Duration::from_secs(20));
    let kerberos = Kerberos::started(&site, "kdc", lives);
    // Keys of the same names that nobody knows any more; the other sink's tickets are no help.
    let stale = Kerberos::started(&site, "stale", lives).keytab();
    let mut hdfs = Hdfs::secured(&site, &kerberos);
    let sinks = with_tickets(&hdfs, "archive", &kerberos.keytab()) + &with_tickets(&hdfs, "stale", &stale);
    let config = kerberos.config().display().to_string();
    let mut collector = site.collector().with(&sinks).with_variable("KRB5_CONFIG", config).started();
    let client = collector.client();
    produce(&client, "app", 0..1000);
    sink::wait_for(&client, "archive", 1000);
    let said = wait::until("the other one is told why not", || {
        let (_, said) = run("skidway", &["sinks", "--url", &collector.url()]);
        said.contains("hdfs.keytab").then_some(said)
    });
    let line = said.lines().find(|line| line.contains("hdfs.keytab")).unwrap();
    assert!(line.contains("does not accept us: No credentials") && !line.contains("0x"), "{said}");

    let granted = kerberos.granted("skidway");
    // Its ticket is of no use any more, but the connection that it opened is; until that goes with the NameNode.
    wait::pause(lives + Duration::from_secs(2));
    produce(&client, "app", 1000..1500);
    sink::wait_for(&client, "archive", 1500);
    hdfs.namenode(0).kill9();
    hdfs.start_namenode(0);
    hdfs.wait_ready();
    produce(&client, "app", 1500..2000);
    sink::wait_for(&client, "archive", 2000);
    each_once(hdfs.hadoop.rows("/logs/archive"), 2000);
    assert!(kerberos.granted("skidway") > granted, "it needed no other ticket");
    let owners = hdfs.hadoop.shell("hdfs", &["-ls", "-R", "/logs/archive"]);
    assert!(owners.lines().all(|line| line.split_whitespace().nth(2) == Some("skidway")), "{owners}");
    assert_eq!(collector.program().stop(), Some(0));
}
