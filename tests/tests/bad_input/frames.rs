//! The agents' frames and the record batches in them: absurd lengths and counts, wrong checksums, cuts at every byte, decompression bombs.

use std::io::Write;

use bytes::Bytes;
use skidway_record::source::{Fingerprint, NewSource, Partitioning, PhysicalId};
use skidway_record::{AgentId, SourceId, TopicName};
use skidway_tests::Answer;
use skidway_wire::{
    CommitAnswer, CommitRequest, Item, ItemResult, OpenSession, SessionOpened, SpanKind, commit::MEDIA_TYPE,
};

use super::Victim;

const SOURCE: SourceId = SourceId([7; 16]);

fn post(victim: &Victim, path: &str, frame: &[u8]) -> Answer {
    let answer = victim.client.try_post(path, &[("Content-Type", MEDIA_TYPE)], frame);
    answer.unwrap_or_else(|| panic!("{path} is not answered: {frame:02x?}"))
}

pub(crate) fn opening() -> Bytes {
    OpenSession { machine_id: "m".into(), host: "h".into(), version: "1".into(), follows: Some(0) }.encode()
}

fn opened(victim: &Victim) -> SessionOpened {
    let answer = post(victim, "/v1/agents/web-1/session", &opening());
    SessionOpened::decode(answer.body.into()).expect("a session is opened")
}

pub(crate) fn create() -> Item {
    Item::Create(NewSource {
        id: SOURCE,
        input: "logs".into(),
        topic: TopicName::new("t").unwrap(),
        partitioning: Partitioning::File,
        physical: PhysicalId { device: 1, inode: 2, generation: 0, birth_ns: 3 },
        supersedes: None,
        head: Fingerprint::default(),
        path: Bytes::from_static(b"/var/log/a.log"),
    })
}

pub(crate) fn span(batches: Vec<Bytes>) -> Item {
    Item::Span {
        source: SOURCE,
        span: 0..10,
        kind: SpanKind::Read,
        expected_carry: None,
        carry: Bytes::new(),
        head: Fingerprint::default(),
        anchor: Fingerprint::default(),
        path: None,
        batches,
        dead: Vec::new(),
    }
}

pub(crate) fn request(session: &SessionOpened, items: Vec<Item>) -> CommitRequest {
    CommitRequest {
        agent: AgentId::new("web-1").unwrap(),
        epoch: session.epoch,
        log_id: session.log_id,
        log_epoch: session.log_epoch,
        bytes_behind: 0,
        oldest_unacknowledged_ms: 0,
        items,
    }
}

/// Puts every length and count there may be where each byte of a frame is, and cuts it at each.
fn spoiled(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let lengths = [u32::MAX, i32::MAX as u32, 1 << 20, 0];
    let overwritten = (0..frame.len()).flat_map(move |at| {
        lengths.into_iter().map(move |length| {
            let mut spoiled = frame.to_vec();
            let end = (at + 4).min(spoiled.len());
            spoiled[at..end].copy_from_slice(&length.to_le_bytes()[..end - at]);
            spoiled
        })
    });
    overwritten.chain((0..frame.len()).map(|end| frame[..end].to_vec()))
}

#[test]
fn frames_with_absurd_lengths_and_cuts_are_refused() {
    let mut victim = Victim::start("");
    let session = opened(&victim);
    // An epoch that is not the agent's: what can be read of a spoiled frame is refused all the same.
    let late = SessionOpened { epoch: session.epoch + 7, ..session };
    for frame in spoiled(&request(&late, vec![create(), span(vec![plain(1, &record(b"x", &[]))])]).encode()) {
        let answer = post(&victim, "/v1/commits", &frame);
        assert!((400..500).contains(&answer.status), "{}: {}: {frame:02x?}", answer.status, answer.text());
    }
    for frame in spoiled(&opening()) {
        let answer = post(&victim, "/v1/agents/other/session", &frame);
        assert!(answer.status < 500, "{}: {}: {frame:02x?}", answer.status, answer.text());
    }
    victim.is_unharmed();
}

#[test]
fn a_frame_of_millions_of_empty_items_costs_bounded_memory() {
    let mut victim = Victim::start("");
    let session = opened(&victim);
    let empty = request(&session, Vec::new()).encode();
    let count = 3_000_000_u32;
    // An item of kind `gone` is 17 bytes here and a hundred in memory.
    let gone = request(&session, vec![Item::Gone { source: SOURCE }]).encode();
    let item = &gone[empty.len()..];
    let head = &empty[..empty.len() - 4];
    let frame = [head, &count.to_le_bytes()[..], &item.repeat(count as usize)].concat();
    let answer = post(&victim, "/v1/commits", &frame);
    assert!((400..500).contains(&answer.status), "{}: {:.300}", answer.status, answer.text());
    victim.is_unharmed();
}

/// Writes Kafka's signed varint.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Makes a record of a value and whatever follows it in place of its headers.
pub(crate) fn record(value: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0];
    varint(&mut body, -1);
    varint(&mut body, value.len() as i64);
    body.extend_from_slice(value);
    body.extend_from_slice(if rest.is_empty() { &[0] } else { rest });
    let mut record = Vec::new();
    varint(&mut record, body.len() as i64);
    record.extend_from_slice(&body);
    record
}

/// Makes a batch whose length and checksum are right, whatever is in it.
fn batch(codec: u8, records: i32, body: &[u8]) -> Bytes {
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&(49 + body.len() as i32).to_be_bytes());
    batch[16] = 2;
    batch[22] = codec;
    batch[23..27].copy_from_slice(&(records.wrapping_sub(1)).to_be_bytes());
    batch[43..51].copy_from_slice(&(-1_i64).to_be_bytes());
    batch[51..53].copy_from_slice(&(-1_i16).to_be_bytes());
    batch[53..57].copy_from_slice(&(-1_i32).to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    batch.extend_from_slice(body);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

pub(crate) fn plain(records: i32, body: &[u8]) -> Bytes {
    batch(0, records, body)
}

fn with(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Bytes {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch.into()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Gives batches that must never be stored, by name.
fn bad_batches() -> Vec<(&'static str, Bytes)> {
    let good = plain(1, &record(b"x", &[])).to_vec();
    let varints = |values: &[i64]| {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| varint(&mut bytes, *value));
        bytes
    };
    let gib = vec![0; 256 << 20];
    // A frame that says it becomes 2^40 bytes: magic, single segment with an 8-byte size, one empty last block.
    let boast = [&0xfd2f_b528_u32.to_le_bytes()[..], &[0xe0], &(1_u64 << 40).to_le_bytes(), &[1, 0, 0]].concat();
    // A window of 2^41 bytes.
    let window = [&0xfd2f_b528_u32.to_le_bytes()[..], &[0x00, 0xf8], &[1, 0, 0]].concat();
    let snappy = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 16]].concat();
    let endless = [0x80; 30];
    vec![
        ("no bytes", Bytes::new()),
        ("half a header", Bytes::copy_from_slice(&good[..30])),
        ("half a batch", Bytes::copy_from_slice(&good[..good.len() - 1])),
        ("bytes after it", [&good[..], b"x"].concat().into()),
        ("a wrong checksum", with(good.clone(), 17, b"abcd")),
        ("an old format", with(good.clone(), 16, &[1])),
        ("a length past all", with(good.clone(), 8, &i32::MAX.to_be_bytes())),
        ("a negative length", with(good.clone(), 8, &(-1_i32).to_be_bytes())),
        ("a length of nothing", with(good.clone(), 8, &0_i32.to_be_bytes())),
        ("a billion records in no bytes", plain(1 << 30, &[])),
        ("all records there can be", plain(i32::MAX, &record(b"x", &[]))),
        ("fewer than no records", plain(-1, &record(b"x", &[]))),
        ("no records", plain(0, &[])),
        ("a record without end", plain(1, &endless)),
        ("a record of 2 GiB", plain(1, &varints(&[i64::from(i32::MAX)]))),
        ("a record of -1 bytes", plain(1, &varints(&[-1]))),
        ("a record past 64 bits", plain(1, &[0xff; 10])),
        ("a billion headers", plain(1, &record(b"x", &varints(&[1 << 30])))),
        ("fewer than no headers", plain(1, &record(b"x", &varints(&[-1])))),
        ("a header's name of -1 bytes", plain(1, &record(b"x", &varints(&[1, -1])))),
        ("a header's name of 2 GiB", plain(1, &record(b"x", &varints(&[1, 1 << 31])))),
        ("a header's value of 2 GiB", plain(1, &record(b"x", &varints(&[1, 0, 1 << 31])))),
        ("bytes after the last record", plain(1, &[record(b"x", &[]), b"more".to_vec()].concat())),
        ("a codec nobody knows", batch(7, 1, &record(b"x", &[]))),
        ("control records", with(plain(1, &record(b"x", &[])).to_vec(), 22, &[0x20])),
        ("a zstd bomb", batch(4, 1, &zstd::encode_all(&gib[..], 1).unwrap())),
        ("a zstd frame that boasts", batch(4, 1, &boast)),
        ("a zstd frame of a huge window", batch(4, 1, &window)),
        (
            "zstd of zstd of nothing",
            batch(4, 1, &zstd::encode_all(&zstd::encode_all(&[][..], 1).unwrap()[..], 1).unwrap()),
        ),
        ("noise as zstd", batch(4, 1, &endless)),
        ("a gzip bomb", batch(1, 1, &gzip(&gib))),
        ("a thousand gzip members", batch(1, 1, &gzip(&[0; 1 << 16]).repeat(1000))),
        ("noise as gzip", batch(1, 1, &endless)),
        ("snappy that boasts", batch(2, 1, &snappy)),
        ("noise as LZ4", batch(3, 1, &endless)),
    ]
}

#[test]
fn bad_batches_are_rejected_one_by_one_and_nothing_of_them_is_stored() {
    let mut victim = Victim::start("");
    let session = opened(&victim);
    for (index, (name, bad)) in bad_batches().into_iter().enumerate() {
        let source = if index == 0 { vec![create()] } else { Vec::new() };
        let items = source.into_iter().chain([span(vec![plain(1, &record(b"good", &[])), bad])]).collect();
        let answer = post(&victim, "/v1/commits", &request(&session, items).encode());
        if (400..500).contains(&answer.status) {
            continue;
        }
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let results = CommitAnswer::decode(answer.body.into()).unwrap().results;
        assert!(matches!(results.last(), Some(ItemResult::Rejected { batch: Some(1), .. })), "{name}: {results:?}");
        victim.serves_others();
    }
    victim.is_unharmed();
    let good = span(vec![plain(1, &record(b"good", &[]))]);
    let answer = post(&victim, "/v1/commits", &request(&session, vec![good]).encode());
    assert_eq!(CommitAnswer::decode(answer.body.into()).unwrap().results, [ItemResult::Accepted]);
}
