//! Sinks to object stores: real servers, and a network that fails in every way it can.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skidway_tests::stores::{Cloud, Stores};
use skidway_tests::{Collector, Site, scale, sink, wait};

use super::exactly_once::keep_producing;
use super::each_once;

/// Configures a sink `archive` of topics `app*` into a store, with more keys.
fn archive(stores: &Stores, site: &Site, (port, keys): (u16, &str)) -> String {
    format!("[[sinks]]\nname = \"archive\"\ntopics = [\"app*\"]\n{keys}\n{}", stores.keys(site, "in/here", port))
}

#[test]
fn every_line_of_sixteen_real_logs_is_in_one_object_on_s3() {
    real_logs(Cloud::S3);
}

#[test]
fn every_line_of_sixteen_real_logs_is_in_one_object_on_azure() {
    real_logs(Cloud::Azure);
}

fn real_logs(cloud: Cloud) {
    let site = Site::new();
    let stores = Stores::start(&site, cloud);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/data").canonicalize().unwrap();
    let keys = "format = \"raw\"\npath = \"{header:path}\"\nroll = { bytes = \"64KiB\", idle = \"1s\" }";
    let sink = archive(&stores, &site, (stores.port(), keys));
    let mut collector = site.collector().with(&sink).started();
    let agent = site.agent("a", &collector.url()).follows(&format!("{}/*.log", data.display()), "app");
    let _agent = agent.started();
    sink::wait_for(&collector.client(), "archive", 32_000);
    assert_eq!(collector.program().stop(), Some(0));
    let out = site.path("out");
    stores.mirror_clean(&out);
    let folders: BTreeSet<_> = sink::files(&out).into_iter().map(|file| file.parent().unwrap().to_owned()).collect();
    assert_eq!(folders.len(), 16);
    for folder in folders {
        assert!(folder.starts_with(out.join("in/here")), "{}", folder.display());
        let name = folder.file_name().unwrap().to_str().unwrap().rsplit("%2F").next().unwrap().to_owned();
        let bytes = std::fs::read(data.join(&name)).unwrap();
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let mut expected: Vec<&[u8]> =
            text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        let files = sink::files(&folder);
        let found: Vec<Vec<u8>> = files.iter().flat_map(|file| sink::byte_rows(file)).collect();
        let mut found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(found == expected, "{name}: lines differ");
    }
}

#[test]
fn killing_the_collector_while_objects_are_sent_loses_and_doubles_nothing() {
    let site = Site::new();
    let stores = Stores::start(&site, Cloud::S3);
    let kills = scale::amount(100, 6);
    let keys = "format = \"raw\"\npath = \"{topic}/%H%M\"\nroll = { records = 100, idle = \"1s\" }";
    let sink = archive(&stores, &site, (stores.port(), keys));
    let mut collector = site.collector().with(&sink).started();
    let enough = kills * 1500;
    kill_often(&mut collector, kills, enough);
    sink::wait_for(&collector.client(), "archive", enough);
    assert_eq!(collector.program().stop(), Some(0));
    stores.mirror_clean(&site.path("out"));
    each_once(sink::all_rows(&site.path("out")), enough);
}

/// Kills the collector at random moments while lines come.
fn kill_often(collector: &mut Collector, kills: u64, enough: u64) {
    let seed = scale::seed();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (client, produced) = (collector.client(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| keep_producing(&client, &produced, enough));
        for kill in 0..kills {
            wait::until("lines come", || (produced.load(Ordering::SeqCst) >= kill * 1400).then_some(()));
            wait::pause(Duration::from_millis(random.random_range(0..80)));
            collector.program().kill9();
            collector.start();
        }
    });
}
