//! Our batches against another implementation's: crate `kafka-protocol` must read what we write and write what we read.
//!
//! The codecs of a body are driven here by hand, so that the other implementation needs none of its own built.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::Write;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCodec, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use skidway_record::compression::decompress;
use skidway_record::{Batch, BatchBuilder, Compression, Compressor, EncodedHeaders};

/// A record as both sides know it. The other side keeps headers in a map, so their names are unique here.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn case() -> impl Strategy<Value = Case> {
    let text = "[a-z]{1,6}( [a-z]{1,6}){0,20}".prop_map(String::into_bytes);
    let value = prop_oneof![text, vec(any::<u8>(), 0..400)];
    let headers = btree_map("[a-z.é-]{0,12}", option::of(vec(any::<u8>(), 0..40)), 0..5);
    (-1_000_000_000_000..4_000_000_000_000_i64, option::of(vec(any::<u8>(), 0..20)), option::of(value), headers)
        .prop_map(|(timestamp_ms, key, value, headers)| Case {
            timestamp_ms,
            key,
            value,
            headers: headers.into_iter().collect(),
        })
}

fn encode_ours(cases: &[Case]) -> Batch {
    let mut builder = BatchBuilder::new();
    for case in cases {
        let headers = case.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref()));
        let headers = EncodedHeaders::new(headers);
        builder.push(case.timestamp_ms, case.key.as_deref(), case.value.as_deref(), &headers);
    }
    builder.finish(&mut Compressor::new(1).unwrap()).expect("there are records")
}

fn decode_ours(batch: &Batch) -> Vec<Case> {
    let decoded = batch.decode().unwrap();
    let records = decoded.records().map(|record| {
        let record = record.unwrap();
        let headers = record
            .headers()
            .map(|header| (String::from_utf8(header.key.to_vec()).unwrap(), header.value.map(<[u8]>::to_vec)));
        Case {
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    });
    records.collect()
}

fn encode_theirs(cases: &[Case], codec: TheirCodec) -> Bytes {
    let records: Vec<TheirRecord> = cases.iter().enumerate().map(|(at, case)| their_record(case, at)).collect();
    let options = RecordEncodeOptions { version: 2, compression: codec };
    let mut bytes = BytesMut::new();
    let compress = |raw: &mut BytesMut, out: &mut BytesMut, codec| {
        out.extend_from_slice(&compress(codec, raw));
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(compress)).unwrap();
    bytes.freeze()
}

fn their_record(case: &Case, at: usize) -> TheirRecord {
    TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: at as i64,
        // Records whose sequences do not follow their offsets would be cut into batches of one.
        sequence: at as i32,
        timestamp: case.timestamp_ms,
        key: case.key.clone().map(Bytes::from),
        value: case.value.clone().map(Bytes::from),
        headers: case
            .headers
            .iter()
            .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
            .collect(),
    }
}

fn decode_theirs(mut bytes: Bytes) -> Vec<TheirRecord> {
    let inflate = |body: &mut Bytes, codec: TheirCodec| {
        let codec = Compression::from_code(codec as u8)?;
        Ok(Bytes::from(decompress(codec, body, 64 << 20)?))
    };
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(inflate)).unwrap();
    assert!(bytes.is_empty(), "the length field covers the batch");
    set.records
}

fn compress(codec: TheirCodec, raw: &[u8]) -> Vec<u8> {
    match codec {
        TheirCodec::None => raw.to_vec(),
        TheirCodec::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(raw).unwrap();
            gzip.finish().unwrap()
        }
        TheirCodec::Snappy => compress_snappy_java(raw),
        TheirCodec::Lz4 => {
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(raw).unwrap();
            lz4.finish().unwrap()
        }
        TheirCodec::Zstd => zstd::encode_all(raw, 3).unwrap(),
    }
}

/// Writes what Kafka's Java client writes: a magic, two versions, then blocks with their lengths.
fn compress_snappy_java(raw: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in raw.chunks(300) {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        out.extend_from_slice(&(block.len() as u32).to_be_bytes());
        out.extend_from_slice(&block);
    }
    out
}

proptest! {
    #[test]
    fn what_we_write_they_read(cases in vec(case(), 1..60)) {
        let theirs = decode_theirs(encode_ours(&cases).bytes().clone());
        prop_assert_eq!(theirs.len(), cases.len());
        for (at, (record, case)) in theirs.iter().zip(&cases).enumerate() {
            let expected = TheirRecord { sequence: record.sequence, ..their_record(case, at) };
            prop_assert_eq!(record, &expected);
        }
    }

    #[test]
    fn what_they_write_we_read(cases in vec(case(), 1..60), codec in prop_oneof![
        Just(TheirCodec::None), Just(TheirCodec::Gzip), Just(TheirCodec::Snappy), Just(TheirCodec::Lz4), Just(TheirCodec::Zstd),
    ]) {
        let mut bytes = encode_theirs(&cases, codec);
        let batch = Batch::take(&mut bytes).unwrap();
        prop_assert!(bytes.is_empty());
        batch.verify().unwrap();
        prop_assert_eq!(batch.header().compression().unwrap().code(), codec as u8);
        prop_assert_eq!(batch.header().max_timestamp_ms, cases.iter().map(|case| case.timestamp_ms).max().unwrap());
        prop_assert_eq!(decode_ours(&batch), cases);
    }

    #[test]
    fn what_we_write_uncompressed_is_what_they_write(mut cases in vec(case(), 1..4)) {
        // The other side counts timestamps from the smallest one, we count from the first (as Kafka's Java client does).
        cases.sort_by_key(|case| case.timestamp_ms);
        cases.iter_mut().for_each(|case| case.value = case.value.take().map(|_| Vec::new()));
        let ours = encode_ours(&cases);
        prop_assume!(ours.header().compression().unwrap() == Compression::None);
        let theirs = encode_theirs(&cases, TheirCodec::None);
        let sequence_and_crc = |bytes: &[u8]| [&bytes[..17], &bytes[21..53], &bytes[57..]].concat();
        prop_assert_eq!(sequence_and_crc(ours.bytes()), sequence_and_crc(&theirs));
    }

    #[test]
    fn a_batch_at_another_offset_is_the_same_to_them(cases in vec(case(), 1..10), base in 0..1_u64 << 60) {
        let batch = encode_ours(&cases).with_base_offset(skidway_record::Offset(base));
        let theirs = decode_theirs(batch.bytes().clone());
        let offsets: Vec<i64> = theirs.iter().map(|record| record.offset).collect();
        let expected: Vec<i64> = (0..cases.len() as i64).map(|at| base as i64 + at).collect();
        prop_assert_eq!(offsets, expected);
    }
}

#[test]
fn repeated_header_names_keep_their_order() {
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"b", None), (b"a", Some(b"2"))];
    let mut builder = BatchBuilder::new();
    builder.push(7, None, Some(b"line"), &EncodedHeaders::new(headers));
    let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap();
    let decoded = batch.decode().unwrap();
    let record = decoded.records().next().unwrap().unwrap();
    let found: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
    assert_eq!(found, headers);
}

#[test]
fn raw_snappy_is_read_as_well() {
    let cases = [Case { timestamp_ms: 1, key: None, value: Some(vec![b'x'; 5000]), headers: Vec::new() }];
    let records = [their_record(&cases[0], 0)];
    let options = RecordEncodeOptions { version: 2, compression: TheirCodec::Snappy };
    let mut bytes = BytesMut::new();
    let compress = |raw: &mut BytesMut, out: &mut BytesMut, _| {
        out.extend_from_slice(&snap::raw::Encoder::new().compress_vec(raw)?);
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(compress)).unwrap();
    let batch = Batch::take(&mut bytes.freeze()).unwrap();
    batch.verify().unwrap();
    assert_eq!(decode_ours(&batch), cases);
}
