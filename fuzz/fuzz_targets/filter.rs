//! Reads arbitrary text as a filter and looks at records with it: nothing panics, and a filter that looks for needles finds what one finds
//! that looks at every record.
//!
//! An input is the filter, a NUL, and the value of a record.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use skidway_collector::read::{Filter, Shard, Turn};
use skidway_record::{BatchBuilder, Compressor, EncodedHeaders, Offset, PartitionId, TopicName, TopicPartition};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (text, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(filter) = Filter::parse(text) else { return };
    let found = filter.selected(turn(value)).expect("a sound batch decodes").records().count();
    // Never true together with the first, and without needles: what is looked at record by record.
    if let Ok(everywhere) = Filter::parse(&format!("({text}) || offset < 0")) {
        let all = everywhere.selected(turn(value)).expect("a sound batch decodes").records().count();
        assert_eq!(found, all, "{text}");
    }
});

fn turn(value: &[u8]) -> Turn {
    let headers = EncodedHeaders::new([(b"host".as_slice(), Some(b"web-1".as_slice())), (b"n", None)]);
    let mut builder = BatchBuilder::new();
    builder.push(1_000, Some(b"key"), Some(value), &headers);
    builder.push(2_000, None, None, &EncodedHeaders::none());
    builder.push(3_000, Some(value), Some(br#"{"level":"error","status":503,"a":[1,{"b":null}]}"#), &headers);
    let batch = builder.finish(&mut Compressor::new(1).expect("a level")).expect("it has records");
    let of = TopicPartition { topic: TopicName::new("app").expect("a name"), partition: PartitionId(3) };
    let shard = Shard { topic: [1; 16], partition: PartitionId(3) };
    Turn::new((of, shard), Arc::new(batch.decode().expect("a sound batch")), Offset(0))
}
