//! How fast is the record codec? Bytes of lines per second on one core: encode, decode, verify.
//!
//! Data: the real logs of `bench/data`, 100 MB of them, as records with two headers in batches of 1 MiB of lines.
//! Bound: zstd-1 alone compresses about 0.9 GB/s and CRC-32C about 10 GB/s on the machines this is built on.
//! Run: `cargo bench -p skidway-record`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result and stops at a fault")]

use std::path::Path;
use std::time::Instant;

use skidway_record::limits::LINE_BYTES_PER_BATCH;
use skidway_record::{Batch, BatchBuilder, Compressor, EncodedHeaders};

const BYTES: usize = 100_000_000;
const ROUNDS: usize = 5;

fn main() {
    let text = logs();
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let batches = encode(&lines);
    let stored: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    println!(
        "{} bytes in {} lines, {} batches, ratio {:.2}",
        text.len(),
        lines.len(),
        batches.len(),
        text.len() as f64 / stored as f64
    );
    measure("encode (zstd-1)", text.len(), || drop(encode(&lines)));
    measure("decode", text.len(), || decode(&batches));
    measure("verify, CRC alone", text.len(), || batches.iter().for_each(|batch| batch.verify_crc().unwrap()));
    measure("verify, everything", text.len(), || batches.iter().for_each(|batch| batch.verify().unwrap()));
}

/// Reads the logs once, and again and again until there is enough.
fn logs() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/data");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    let once: Vec<u8> = paths.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    once.iter().copied().cycle().take(BYTES).collect()
}

fn encode(lines: &[&[u8]]) -> Vec<Batch> {
    let headers = EncodedHeaders::new([
        (b"host".as_slice(), Some(b"web-1.example.internal".as_slice())),
        (b"path", Some(b"/var/log/nginx/access.log")),
    ]);
    let (mut builder, mut compressor) = (BatchBuilder::new(), Compressor::new(1).unwrap());
    let (mut batches, mut line_bytes) = (Vec::new(), 0);
    for line in lines {
        builder.push(1_700_000_000_000, None, Some(line), &headers);
        line_bytes += line.len() + 1;
        if line_bytes >= LINE_BYTES_PER_BATCH {
            batches.extend(builder.finish(&mut compressor));
            line_bytes = 0;
        }
    }
    batches.extend(builder.finish(&mut compressor));
    batches
}

fn decode(batches: &[Batch]) {
    for batch in batches {
        let decoded = batch.decode().unwrap();
        let bytes: usize = decoded.records().map(|record| record.unwrap().value.map_or(0, <[u8]>::len)).sum();
        std::hint::black_box(bytes);
    }
}

/// Prints the median of a few rounds.
fn measure(name: &str, bytes: usize, mut work: impl FnMut()) {
    let round = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    let mut times: Vec<_> = (0..ROUNDS).map(round).collect();
    times.sort();
    println!("{name:20} {:7.0} MB/s", bytes as f64 / 1e6 / times[ROUNDS / 2].as_secs_f64());
}
