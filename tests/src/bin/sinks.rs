//! `sinks [--mib 256] [--rounds 3]`: a topic into local files against a bare loop of the same work. See bench/sinks.
//!
//! The bound decompresses the same lines from memory, escapes them into the same rows and compresses those at the same level, on one thread, and
//! writes nothing anywhere.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::write::GzEncoder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use skidway_tests::arguments::number;
use skidway_tests::program::used;
use skidway_tests::{Site, samples, sink, wait};

const PIECE_BYTES: usize = 1 << 20;

/// Says what is written: format, compression.
const CASES: [(&str, &str); 5] =
    [("ndjson", "gzip"), ("ndjson", "zstd"), ("ndjson", "none"), ("raw", "zstd"), ("parquet", "zstd")];

/// What the sink takes for a row group, and for a dictionary.
const GROUP_BYTES: usize = 4 << 20;
const DICTIONARY_BYTES: usize = 512 << 10;

/// The columns of a Parquet file without a schema of values.
const PARQUET: &str = "message record {
    required binary topic (STRING); required int32 partition; required int64 offset;
    required int64 timestamp (TIMESTAMP(MILLIS, true)); optional binary key (STRING); optional binary key_binary;
    required group headers (MAP) { repeated group key_value { required binary key (STRING); optional binary value (STRING); } }
    optional binary headers_json (STRING); optional binary value (STRING); optional binary value_binary;
}";

/// Its leaves.
const PARQUET_LEAVES: [&str; 11] = [
    "topic",
    "partition",
    "offset",
    "timestamp",
    "key",
    "key_binary",
    "headers",
    "headers",
    "headers_json",
    "value",
    "value_binary",
];

/// Holds what one run took.
struct Run {
    mb_per_second: f64,
    cpu_seconds_per_gb: f64,
    peak_mib: u64,
}

fn main() {
    let (mib, rounds): (usize, u32) = (number("--mib", 256), number("--rounds", 3));
    let mut sample = samples::lines();
    sample.retain(|line| std::str::from_utf8(line).is_ok());
    let lines = samples::repeated(&sample, mib << 20);
    let bytes = lines.len() as f64;
    let pieces: Vec<Vec<u8>> =
        cut(&lines).iter().map(|piece| zstd::encode_all(*piece, 1).expect("zstd compresses")).collect();
    let site = Site::new();
    fill(&site, &lines);
    drop(lines);
    println!(
        "# A topic into local files\n\n{bytes:.0} bytes of real log lines in one partition; the best of {rounds} rounds, in turn.\n"
    );
    println!("| rows | bound MB/s | bound CPU s/GB | sink MB/s | sink CPU s/GB | peak RSS MiB | of the bound |");
    println!("|---|---|---|---|---|---|---|");
    for (format, compression) in CASES {
        let (mut bound, mut ours): (Option<Run>, Option<Run>) = (None, None);
        for round in 0..rounds {
            let bare = if format == "parquet" {
                bare_parquet(&pieces, bytes)
            } else {
                bare_loop(&pieces, (format, compression), bytes)
            };
            bound = faster(bound, bare);
            ours = faster(ours, through_the_sink(&site, (format, compression), (bytes, round)));
        }
        let (Some(bound), Some(ours)) = (bound, ours) else { continue };
        println!(
            "| {format}, {compression} | {:.0} | {:.2} | {:.0} | {:.2} | {} | {:.2} |",
            bound.mb_per_second,
            bound.cpu_seconds_per_gb,
            ours.mb_per_second,
            ours.cpu_seconds_per_gb,
            ours.peak_mib,
            ours.mb_per_second / bound.mb_per_second,
        );
    }
}

fn faster(best: Option<Run>, run: Run) -> Option<Run> {
    match best {
        Some(best) if best.mb_per_second >= run.mb_per_second => Some(best),
        _ => Some(run),
    }
}

/// Cuts text into pieces of whole lines.
fn cut(lines: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut rest) = (Vec::new(), lines);
    while !rest.is_empty() {
        let most = rest.len().min(PIECE_BYTES);
        let end = rest[..most].iter().rposition(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (piece, after) = rest.split_at(end);
        (pieces, rest) = ([pieces, vec![piece]].concat(), after);
    }
    pieces
}

fn fill(site: &Site, lines: &[u8]) {
    let mut collector = site.collector().with("[topics]\npartitions = 1\n[engine]\ndurability = \"os\"").started();
    for piece in cut(lines) {
        let answer = collector.client().post("/v1/topics/app/records", "text/plain", piece);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(collector.program().stop(), Some(0));
}

/// Does what a sink has to do, and nothing else.
fn bare_loop(pieces: &[Vec<u8>], (format, compression): (&str, &str), bytes: f64) -> Run {
    let mut output: Box<dyn Write> = match compression {
        "gzip" => Box::new(GzEncoder::new(std::io::sink(), flate2::Compression::default())),
        "zstd" => Box::new(zstd::Encoder::new(std::io::sink(), 3).expect("zstd starts").auto_finish()),
        _ => Box::new(std::io::sink()),
    };
    let (start, mut offset, mut rows) = (Instant::now(), 0u64, Vec::new());
    for piece in pieces {
        let lines = zstd::decode_all(&piece[..]).expect("it was compressed above");
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if format == "ndjson" {
                write!(rows, "{{\"topic\":\"app\",\"partition\":0,\"offset\":{offset},\"timestamp\":\"2026-11-22T10:05:00.000Z\",\"key\":null,\"headers\":{{}},\"value\":").expect("memory takes it");
                serde_json::to_writer(&mut rows, std::str::from_utf8(line).expect("it was checked"))
                    .expect("text is JSON");
                rows.extend_from_slice(b"}\n");
            } else {
                rows.extend_from_slice(line);
                rows.push(b'\n');
            }
            offset += 1;
        }
        output.write_all(&rows).expect("nothing takes it");
        rows.clear();
    }
    drop(output);
    let seconds = start.elapsed().as_secs_f64();
    Run { mb_per_second: bytes / 1e6 / seconds, cpu_seconds_per_gb: seconds / (bytes / 1e9), peak_mib: 0 }
}

/// Does what a sink has to do for Parquet, and nothing else: the same columns through the same writer.
fn bare_parquet(pieces: &[Vec<u8>], bytes: f64) -> Run {
    let schema = parse_message_type(PARQUET).expect("it is a schema");
    let level = ZstdLevel::try_new(3).expect("zstd has it");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES);
    for column in ["offset", "timestamp"] {
        properties = properties
            .set_column_dictionary_enabled(column.into(), false)
            .set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED);
    }
    let start = Instant::now();
    let mut file =
        SerializedFileWriter::new(std::io::sink(), schema.into(), properties.build().into()).expect("nothing takes it");
    let (mut offset, mut values, mut waiting) = (0, Vec::new(), 0);
    for piece in pieces {
        let lines = Bytes::from(zstd::decode_all(&piece[..]).expect("it was compressed above"));
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(std::str::from_utf8(line).is_ok(), "the corpus is text");
            values.push(ByteArray::from(lines.slice_ref(line)));
            waiting += line.len();
        }
        if waiting >= GROUP_BYTES {
            write_group(&mut file, offset, &values);
            offset += values.len() as i64;
            values.clear();
            waiting = 0;
        }
    }
    write_group(&mut file, offset, &values);
    file.close().expect("nothing takes it");
    let seconds = start.elapsed().as_secs_f64();
    Run { mb_per_second: bytes / 1e6 / seconds, cpu_seconds_per_gb: seconds / (bytes / 1e9), peak_mib: 0 }
}

/// Writes lines as a row group.
fn write_group(file: &mut SerializedFileWriter<std::io::Sink>, offset: i64, values: &[ByteArray]) {
    let rows = values.len();
    let (nulls, filled) = (vec![0i16; rows], vec![1i16; rows]);
    let (topics, times): (Vec<ByteArray>, _) = (vec!["app".into(); rows], vec![1_763_805_900_000i64; rows]);
    let offsets: Vec<i64> = (offset..offset + rows as i64).collect();
    let mut group = file.next_row_group().expect("nothing takes it");
    let mut column = 0;
    while let Some(mut out) = group.next_column().expect("nothing takes it") {
        let written = match out.untyped() {
            ColumnWriter::Int32ColumnWriter(out) => out.write_batch(&vec![0; rows], None, None),
            ColumnWriter::Int64ColumnWriter(out) => {
                out.write_batch(if column == 2 { &offsets } else { &times }, None, None)
            }
            ColumnWriter::ByteArrayColumnWriter(out) => match PARQUET_LEAVES[column] {
                "topic" => out.write_batch(&topics, None, None),
                "value" => out.write_batch(values, Some(&filled), None),
                "headers" => out.write_batch(&[], Some(&nulls), Some(&nulls)),
                _ => out.write_batch(&[], Some(&nulls), None),
            },
            _ => Ok(0),
        };
        written.expect("nothing takes it");
        out.close().expect("nothing takes it");
        column += 1;
    }
    group.close().expect("nothing takes it");
}

/// Starts the collector with a new sink, and waits until all is in files.
fn through_the_sink(site: &Site, (format, compression): (&str, &str), (bytes, round): (f64, u32)) -> Run {
    let name = format!("{format}-{compression}-{round}");
    let sink = format!(
        "[[sinks]]\nname = {name:?}\ntopics = [\"app\"]\nurl = \"file://{}\"\nformat = {format:?}\ncompression = {compression:?}\n\
         roll = {{ idle = \"1s\" }}",
        site.text(&format!("out-{name}"))
    );
    let mut collector = site.collector().with(&sink).started();
    let start = Instant::now();
    let client = collector.client();
    let before = used(collector.program().pid()).0;
    let all_read = wait::within(Duration::from_secs(600), || {
        let stands = sink::stands(&client, &name)?;
        let shard = &stands["partitions"][0];
        (shard["high_watermark"].as_u64()? > 0 && shard["read"] == shard["high_watermark"]).then_some(())
    });
    let seconds = start.elapsed().as_secs_f64();
    let (after, peak) = used(collector.program().pid());
    assert!(all_read.is_some(), "the sink does not come to the end of its topic");
    assert_eq!(collector.program().stop(), Some(0));
    std::fs::remove_dir_all(site.path(&format!("out-{name}"))).expect("its files are removed");
    Run {
        mb_per_second: bytes / 1e6 / seconds,
        cpu_seconds_per_gb: (after - before) / (bytes / 1e9),
        peak_mib: peak >> 20,
    }
}
