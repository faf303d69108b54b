//! Sinks to object stores: real servers, and a network that fails in every way it can.

use std::collections::BTreeSet;
use std::time::Duration;

use skidway_tests::faults::{FAULTS, Faults};
use skidway_tests::program::{run, used};
use skidway_tests::stores::{Cloud, Stores};
use skidway_tests::tls::Authority;
use skidway_tests::{Client, Site, scale, sink, wait};

use super::exactly_once::{self, kill_often};
use super::{each_once, produce};

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
    let data = exactly_once::real_logs();
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
        let mut expected: Vec<&[u8]> = exactly_once::log_lines(&bytes).collect();
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
fn what_a_killed_sink_left_is_gone_after_its_start_and_what_is_not_its_own_is_not() {
    let site = Site::new();
    for (cloud, expected) in [(Cloud::S3, &["in/here/theirs"][..]), (Cloud::Azure, &[])] {
        let stores = Stores::start(&site, cloud);
        stores.litter("in/here");
        let sink = archive(&stores, &site, (stores.port(), ""));
        let mut collector = site.collector().with(&sink).started();
        let client = collector.client();
        produce(&client, "app", 0..1);
        wait::until("the sink reads", || {
            (sink::stands(&client, "archive")?["partitions"].as_array()?.len() > 1).then_some(())
        });
        // It has no time to clean up again.
        collector.program().kill9();
        let out = site.path(&format!("{cloud:?}"));
        assert_eq!(stores.mirror(&out), expected);
        assert_eq!(sink::files(&out), [] as [std::path::PathBuf; 0]);
        std::fs::remove_dir_all(site.path("data")).unwrap();
    }
}

#[test]
fn killing_the_collector_while_objects_are_sent_loses_and_doubles_nothing() {
    let (site, seed, kills) = (Site::new(), scale::seed(), scale::amount(100, 6));
    eprintln!("seed {seed}");
    let stores = Stores::start(&site, Cloud::S3);
    let keys = "format = \"raw\"\npath = \"{topic}/%H%M\"\nroll = { records = 100, idle = \"1s\" }";
    let sink = archive(&stores, &site, (stores.port(), keys));
    let mut collector = site.collector().with(&sink).started();
    let enough = kill_often(&mut collector, (seed, kills, 80), |number| format!("line {number}"));
    sink::wait_for(&collector.client(), "archive", enough);
    assert_eq!(collector.program().stop(), Some(0));
    stores.mirror_clean(&site.path("out"));
    each_once(sink::all_rows(&site.path("out")), enough);
}

/// Produces lines `from..to` of so many bytes each, which do not lie in order with those of [`produce`].
fn produce_long(client: &Client, numbers: std::ops::Range<u64>, bytes: usize) {
    let lines: String = numbers.map(|number| format!("line {number:0bytes$}\n")).collect();
    let answer = client.post("/v1/topics/app/records", "text/plain", lines);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_network_to_s3_that_fails_in_every_way_loses_and_doubles_nothing() {
    let seed = scale::seed();
    eprintln!("seed {seed}");
    failing_network(Cloud::S3, seed);
}

#[test]
fn a_network_to_azure_that_fails_in_every_way_loses_and_doubles_nothing() {
    let seed = scale::seed();
    eprintln!("seed {seed}");
    failing_network(Cloud::Azure, seed);
}

fn failing_network(cloud: Cloud, seed: u64) {
    let site = Site::new();
    let stores = Stores::start(&site, cloud);
    // The sinks wait for two seconds.
    let faults = Faults::start(stores.port(), (seed, 3), Duration::from_secs(3));
    let small = "format = \"raw\"\npath = \"small\"\nroll = { records = 200, idle = \"1s\" }";
    let large = "format = \"raw\"\npath = \"\"\ncompression = \"none\"\nroll = { bytes = \"9MiB\", idle = \"1s\" }";
    let large = format!(
        "[[sinks]]\nname = \"large\"\ntopics = [\"app\"]\n{large}\n{}",
        stores.keys(&site, "large", faults.port())
    );
    let topics = "[topics]\npartitions = 1";
    let mut collector =
        site.collector().with(topics).with(&archive(&stores, &site, (faults.port(), small))).with(&large).started();
    let (client, rounds) = (collector.client(), scale::amount(100, 10));
    for round in 0..rounds {
        // Lines of 2 kB: ten rounds are four uploads in two parts.
        produce_long(&client, round * 2000..(round + 1) * 2000, 2000);
        if round % 4 == 2 {
            collector.program().kill9();
            collector.start();
        }
    }
    let lines = rounds * 2000;
    // They would come through as they are, but when is a matter of chance.
    let met = || faults.met().values().copied().map(u64::from).sum::<u64>();
    let _ = wait::within(Duration::from_secs(rounds), || (met() > 5 * rounds).then_some(()));
    faults.calm();
    for name in ["archive", "large"] {
        sink::wait_for(&client, name, lines);
    }
    assert_eq!(collector.program().stop(), Some(0));
    stores.mirror_clean(&site.path("out"));
    each_once(sink::all_rows(&site.path("out/in")), lines);
    each_once(sink::all_rows(&site.path("out/large")), lines);
    assert!(faults.met().len() > FAULTS.len() / 2, "{:?}", faults.met());
}

#[test]
fn a_large_object_is_sent_in_parts_and_never_in_memory_whole_on_s3() {
    large_object(Cloud::S3);
}

#[test]
fn a_large_object_is_sent_in_parts_and_never_in_memory_whole_on_azure() {
    large_object(Cloud::Azure);
}

fn large_object(cloud: Cloud) {
    let site = Site::new();
    let stores = Stores::start(&site, cloud);
    let keys = "format = \"raw\"\ncompression = \"none\"\nroll = { idle = \"1h\" }";
    let sink = archive(&stores, &site, (stores.port(), keys));
    let mut collector = site.collector().with("[topics]\npartitions = 1").with(&sink).started();
    let client = collector.client();
    // A hundred megabytes.
    for round in 0..25 {
        produce_long(&client, round * 400..(round + 1) * 400, 10_000);
    }
    wait::until("all is read", || {
        (sink::stands(&client, "archive")?["partitions"][0]["read"].as_u64()? == 10_000).then_some(())
    });
    let process = collector.program().pid();
    // From here on the peak is that of sending.
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    let (_, before) = used(process);
    assert_eq!(run("skidway", &["sinks", "pause", "archive", "--url", &collector.url()]).0, Some(0));
    sink::wait_for(&client, "archive", 10_000);
    let grown = used(process).1.saturating_sub(before) >> 20;
    assert!(grown < 48, "sending took {grown} MiB");
    assert_eq!(collector.program().stop(), Some(0));
    let out = site.path("out");
    stores.mirror_clean(&out);
    assert_eq!(sink::files(&out).len(), 1);
    each_once(sink::all_rows(&out), 10_000);
}

#[test]
fn what_is_wrong_with_a_store_is_one_line_and_other_sinks_go_on() {
    let site = Site::new();
    let (s3, azure) = (Stores::start(&site, Cloud::S3), Stores::start(&site, Cloud::Azure));
    let raw = "format = \"raw\"\nroll = { idle = \"1s\" }";
    let named = |name: &str, keys: &str| format!("[[sinks]]\nname = \"{name}\"\ntopics = [\"app\"]\n{raw}\n{keys}");
    let no_bucket = named("no-bucket", &s3.keys(&site, "", s3.port()).replace("logs/", "elsewhere"));
    let no_access = named("no-access", &azure.keys(&site, "", azure.port()).replace("az-key", "wrong-key"));
    site.write("wrong-key", "c2VjcmV0LXRoYXQtbmV2ZXItc2hvd3M=");
    let nobody = named("nobody", &s3.keys(&site, "", skidway_tests::program::free_port()));
    let good = named("good", &s3.keys(&site, "good", s3.port()));
    let collector = site.collector().with(&[no_bucket, no_access, nobody, good].concat()).started();
    let client = collector.client();
    produce(&client, "app", 0..10);
    sink::wait_for(&client, "good", 10);
    for (name, words) in [
        ("no-bucket", "there is no such bucket (404 NoSuchBucket); create it, or correct the url"),
        ("no-access", "access is denied (403 AuthorizationFailure); check the sink's keys"),
        ("nobody", "the store cannot be reached: "),
    ] {
        let trouble = wait::until("the sink tells", || {
            Some(sink::stands(&client, name)?["trouble"].as_str().filter(|it| !it.is_empty())?.to_owned())
        });
        assert!(trouble.contains(words), "{trouble}");
        assert!(trouble.lines().count() == 1 && trouble.len() < 250, "{trouble}");
    }
    let shown = client.get("/v1/sinks").text() + &std::fs::read_to_string(site.path("collector.log")).unwrap();
    assert!(!shown.contains("c2VjcmV0LXRoYXQ"), "a secret is shown");
    let config = site.write("bad.toml", format!("[collector]\ndata_dir = \"x\"\n{}", named("bad", "url = \"s4://b\"")));
    let (code, said) = run("skidway-collector", &["check", "--config", config.to_str().unwrap()]);
    assert!(code == Some(78) && said.contains("sinks.0.url: s4:// is not known; write file:///folder"), "{said}");
}

#[test]
fn a_store_behind_https_is_trusted_by_its_authority_alone() {
    let (site, authority) = (Site::new(), Authority::new());
    let stores = Stores::start_https(&site, &authority);
    let trusting = stores.keys(&site, "trusting", stores.port());
    let (start, rest) = trusting.split_once("ca_file").unwrap();
    let doubting = format!("{start}{}", rest.split_once(", ").unwrap().1).replace("/trusting", "/doubting");
    let named = |name: &str, keys: &str| {
        format!(
            "[[sinks]]\nname = \"{name}\"\ntopics = [\"app\"]\nformat = \"raw\"\nroll = {{ idle = \"1s\" }}\n{keys}"
        )
    };
    let collector = site.collector().with(&named("trusting", &trusting)).with(&named("doubting", &doubting)).started();
    let client = collector.client();
    produce(&client, "app", 0..100);
    sink::wait_for(&client, "trusting", 100);
    let out = site.path("out");
    stores.mirror_clean(&out);
    each_once(sink::all_rows(&out), 100);
    let trouble = wait::until("the other one tells", || {
        Some(sink::stands(&client, "doubting")?["trouble"].as_str().filter(|it| !it.is_empty())?.to_owned())
    });
    assert!(trouble.contains("certificate"), "{trouble}");
}
