//! `readers [--mib 32] [--readers 100]`: what many readers at the head, and one reader of old data, cost against plain copies of the same
//! bytes to as many sockets. See bench/log.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use skidway_tests::arguments::number;
use skidway_tests::program::used;
use skidway_tests::{Client, Collector, Site, wait};

/// Forms that records are read in.
const FORMS: [(&str, &str); 3] =
    [("raw", "application/vnd.kafka.recordbatch"), ("ndjson", "application/x-ndjson"), ("sse", "text/event-stream")];

/// Bytes read and written at once.
const CHUNK_BYTES: usize = 1 << 20;

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("copy") {
        let (file, sockets) = (args.next().expect("a file"), args.next().expect("a number"));
        return copy(Path::new(&file), sockets.parse().expect("a number"));
    }
    let (mib, readers) = (number("--mib", 32_u64), number("--readers", 100_usize));
    let site = Site::new();
    for (form, accept) in FORMS {
        at_the_head(&site, form, accept, mib, readers);
    }
    old_data(&site, 64 * mib);
}

/// Lets many readers follow what is produced; compares the collector's CPU with a plain copier's.
fn at_the_head(site: &Site, form: &str, accept: &str, mib: u64, readers: usize) {
    let mut collector = started(site, form);
    let client = collector.client();
    let pid = collector.program().pid();
    let alone = cpu(pid, || produce(&client, "alone", mib));
    let received = AtomicU64::new(0);
    let mut with_readers = 0.0;
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let path = "/v1/topics/read/records?partition=0&from=latest";
            let mut body = client.body(path, accept).expect("a stream opens");
            let received = &received;
            scope.spawn(move || {
                let mut chunk = vec![0; CHUNK_BYTES];
                while let Ok(count @ 1..) = body.read(&mut chunk) {
                    received.fetch_add(count as u64, Ordering::Relaxed);
                }
            });
        }
        with_readers = cpu(pid, || {
            produce(&client, "read", mib);
            settled(&received);
        });
        assert_eq!(collector.program().stop(), Some(0));
    });
    let each = received.into_inner() / readers as u64;
    let plain = copier(site, each, readers);
    let cost = with_readers - alone;
    println!(
        "readers: {readers} {form} readers at the head, {} MB each: collector {cost:.2} CPU s beyond storing, plain copy {plain:.2} CPU s: \
         {:.2} x (goal 1.5 x)",
        each / 1_000_000,
        cost / plain
    );
}

/// Reads old data as stored batches; compares its speed with a plain copy's.
fn old_data(site: &Site, mib: u64) {
    let collector = started(site, "old");
    let client = collector.client();
    produce(&client, "read", mib);
    let read = || {
        let path = "/v1/topics/read/records?partition=0&from=earliest&follow=false";
        drain(client.body(path, FORMS[0].1).expect("a stream opens"))
    };
    read();
    let (bytes, took) = read();
    let mut child = spawn_copier(&write_file(site, bytes), 1);
    let (copied, plain) = drain(connect(&mut child));
    end(child);
    assert_eq!(copied, bytes);
    let speed = |took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
    println!(
        "raw: {} MB of old data as stored batches at {:.0} MB/s, plain copy {:.0} MB/s: {:.0} % (goal 60 %)",
        bytes / 1_000_000,
        speed(took),
        speed(plain),
        100.0 * speed(took) / speed(plain)
    );
}

fn started(site: &Site, name: &str) -> Collector {
    let collector = site.collector().keeping(&site.path(name)).started();
    for topic in ["alone", "read"] {
        assert_eq!(collector.client().put(&format!("/v1/topics/{topic}"), &json!({"partitions": 1})).status, 201);
    }
    collector
}

/// Produces lines of about a KiB that hardly compress, 512 a request.
fn produce(client: &Client, topic: &str, mib: u64) {
    let mut random = StdRng::seed_from_u64(mib);
    for _ in 0..mib * 2 {
        let mut body = vec![0; 512 << 10];
        random.fill(body.as_mut_slice());
        for (at, byte) in body.iter_mut().enumerate() {
            *byte = if at % 1024 == 1023 { b'\n' } else { b'!' + *byte % 94 };
        }
        assert_eq!(client.post(&format!("/v1/topics/{topic}/records"), "text/plain", body).status, 200);
    }
}

/// Gives the CPU seconds that a process uses meanwhile.
fn cpu(pid: u32, meanwhile: impl FnOnce()) -> f64 {
    let before = used(pid).0;
    meanwhile();
    used(pid).0 - before
}

/// Waits until nothing more arrives.
fn settled(received: &AtomicU64) {
    let mut before = 0;
    wait::until("the readers have everything", || {
        wait::pause(Duration::from_millis(500));
        let now = received.load(Ordering::Relaxed);
        (std::mem::replace(&mut before, now) == now && now > 0).then_some(())
    });
}

/// Gives the CPU seconds of copying so many bytes of a file to each of so many sockets.
fn copier(site: &Site, bytes: u64, sockets: usize) -> f64 {
    let mut child = spawn_copier(&write_file(site, bytes), sockets);
    let streams: Vec<TcpStream> = connect_all(&mut child, sockets);
    let readers: Vec<_> = streams.into_iter().map(|stream| std::thread::spawn(move || drain(stream))).collect();
    for reader in readers {
        assert_eq!(reader.join().expect("a reader reads").0, bytes);
    }
    let (seconds, _) = used(child.id());
    end(child);
    seconds
}

fn write_file(site: &Site, bytes: u64) -> std::path::PathBuf {
    site.write("copied", vec![b'x'; bytes as usize])
}

fn drain(mut from: impl Read) -> (u64, Duration) {
    let (started, mut chunk, mut bytes) = (Instant::now(), vec![0; CHUNK_BYTES], 0);
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        bytes += count as u64;
    }
    (bytes, started.elapsed())
}

fn spawn_copier(file: &Path, sockets: usize) -> Child {
    let program = std::env::current_exe().expect("a program knows its path");
    let mut command = Command::new(program);
    command.arg("copy").arg(file).arg(sockets.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("the copier starts")
}

fn connect(child: &mut Child) -> TcpStream {
    connect_all(child, 1).remove(0)
}

fn connect_all(child: &mut Child, sockets: usize) -> Vec<TcpStream> {
    let mut address = String::new();
    let output = child.stdout.as_mut().expect("its output is piped");
    BufReader::new(output).read_line(&mut address).expect("it says where it listens");
    (0..sockets).map(|_| TcpStream::connect(address.trim()).expect("it listens")).collect()
}

/// Lets the copier end, once its CPU was measured.
fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("the copier ends");
}

/// Is the copier: writes a file to so many sockets, chunk by chunk, and waits to be measured.
fn copy(file: &Path, sockets: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let mut streams: Vec<TcpStream> = (0..sockets).map(|_| listener.accept().expect("a connection").0).collect();
    let mut file = std::fs::File::open(file).expect("the file is there");
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = file.read(&mut chunk) {
        streams.iter_mut().for_each(|stream| stream.write_all(&chunk[..count]).expect("the reader reads"));
    }
    drop(streams);
    let _until_it_is_closed = std::io::stdin().read(&mut [0]);
}
