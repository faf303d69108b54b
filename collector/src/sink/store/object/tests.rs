//! The store over an object store in memory, and what is read from a configuration.

use object_store::memory::InMemory;
use object_store::{ClientOptions, ObjectStore, client};
use skidway_daemon::config::Document;

use super::client::Large;
use super::*;
use crate::blocking::blocking;
use crate::sink::store::Destination;
use crate::sink::store::conformance::conforms;

/// Does blocking work as the collector does it.
fn on_a_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(blocking(work))
}

fn store(memory: &Arc<InMemory>, prefix: &str, data_dir: &FilePath) -> BucketStore {
    skidway_daemon::tls::use_ring();
    let http = client::HttpConnector::connect(&client::ReqwestConnector::default(), &ClientOptions::new()).unwrap();
    let client = Client { store: memory.clone(), large: Large::Copied(memory.clone()), http };
    BucketStore::with(Arc::new(client), &Path::parse(prefix).unwrap(), "archive", data_dir)
}

fn keys(memory: &InMemory) -> Vec<String> {
    let listed = memory.list(None).map_ok(|object| object.location.to_string()).try_collect::<Vec<_>>();
    futures::executor::block_on(listed).unwrap()
}

#[test]
fn a_bucket_conforms_with_a_prefix_and_without() {
    for prefix in ["", "logs/prod"] {
        let temp = tempfile::tempdir().unwrap();
        let memory = Arc::new(InMemory::new());
        let store = store(&memory, prefix, temp.path());
        on_a_blocking_thread(move || conforms(&store));
        assert_eq!(keys(&memory), [format!("{prefix}/top.log").trim_start_matches('/').to_owned()]);
    }
}

#[test]
fn a_large_file_is_published_once_and_nothing_else_is_left() {
    let temp = tempfile::tempdir().unwrap();
    let memory = Arc::new(InMemory::new());
    let store = store(&memory, "logs", temp.path());
    let large: Vec<u8> = (0..3 * PART_BYTES + 5).map(|at| (at % 251) as u8).collect();
    let expected = large.clone();
    let read = on_a_blocking_thread(move || {
        store.open().unwrap();
        for expected in [Published::New, Published::Exists] {
            fs::write(store.spool().join("file"), &large).unwrap();
            assert_eq!(store.publish(&store.spool().join("file"), "a+0+0+1.gz").unwrap(), expected);
        }
        let mut read = Vec::new();
        store.read("a+0+0+1.gz").unwrap().read_to_end(&mut read).unwrap();
        read
    });
    assert!(read == expected);
    assert_eq!(keys(&memory), ["logs/a+0+0+1.gz"]);
}

#[test]
fn what_an_earlier_run_left_is_deleted_and_what_others_keep_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let memory = Arc::new(InMemory::new());
    let keep = ["logs/.skidway-other/1", "logs/a+0+0+1.gz", "other"];
    let left = ["logs/.skidway-archive/1", "logs/.skidway-archive/probe"];
    for key in keep.iter().chain(&left) {
        futures::executor::block_on(memory.put(&Path::parse(key).unwrap(), "x".into())).unwrap();
    }
    let store = store(&memory, "logs", temp.path());
    on_a_blocking_thread(move || store.open().unwrap());
    assert_eq!(keys(&memory), keep);
}

fn read(text: &str) -> Result<Destination, String> {
    let document = Document::parse("collector.toml", text).map_err(|it| it.to_string())?;
    let destination = Destination::from_section(&document.section());
    document.finish().map_err(|it| it.to_string())?;
    destination.ok_or_else(|| "no destination".to_owned())
}

#[test]
fn each_cloud_has_its_keys_and_shows_no_secret() {
    let temp = tempfile::tempdir().unwrap();
    let secret = temp.path().join("secret");
    fs::write(&secret, "c2VjcmV0\n").unwrap();
    let secret = secret.display();
    for (text, shown) in [
        (
            format!(
                "url = 's3://logs/a/b/'\ns3 = {{ endpoint = 'http://127.0.0.1:1', region = 'eu-central-1', access_key_id = 'id', secret_access_key_file = '{secret}', virtual_hosted_style = false, allow_http = true, timeout = '5s' }}"
            ),
            "s3://logs/a/b",
        ),
        (format!("url = 'az://logs'\naz = {{ account = 'us', access_key_file = '{secret}' }}"), "az://logs"),
    ] {
        let destination = read(&text).unwrap();
        assert_eq!(destination.to_string(), shown);
        assert!(!format!("{destination:?}").contains("c2VjcmV0"), "{destination:?}");
    }
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, words) in [
        ("url = 's3:///prefix'", "url: names no bucket; write s3://bucket/prefix"),
        ("url = 's3://b/a/../c'", "url: has a prefix that cannot be"),
        ("url = 's3://b'\ns3 = { regoin = 'x' }", "s3.regoin: unknown key; did you mean \"region\"?"),
        ("url = 's3://b'\naz = { account = 'x' }", "az: unknown key"),
        ("url = 's3://b'\ns3 = { endpoint = 'http://h' }", "s3.endpoint: would send records unencrypted"),
        ("url = 's3://b'\ns3 = { endpoint = 'host:9000' }", "s3.endpoint: names no host"),
        (
            "url = 's3://b'\ns3 = { access_key_id = 'x' }",
            "s3.access_key_id: is of no use without secret_access_key_file",
        ),
        (
            "url = 's3://b'\ns3 = { secret_access_key_file = '/none' }",
            "s3.secret_access_key_file: /none cannot be read",
        ),
        ("url = 'az://b'\naz = { access_key_file = 'Cargo.toml' }", "az.account: is missing"),
        ("url = 'az://b'\naz = { account = 'x', access_key_file = 'Cargo.toml' }", "az: does not suffice for az://b"),
        (
            "url = 'az://b'\naz = { account = 'x', access_key_file = '/dev/null' }",
            "az.access_key_file: /dev/null is empty",
        ),
        ("url = 'gs://b'\ngs = { service_account_file = 'Cargo.toml' }", "gs: does not suffice for gs://b"),
        ("url = 'ftp://b'", "url: ftp:// is not known; write file:///folder, hdfs://namenode:8020/folder, s3://bucket"),
    ] {
        let mistakes = read(text).unwrap_err();
        assert!(mistakes.contains(words), "{words} in {mistakes}");
    }
}
