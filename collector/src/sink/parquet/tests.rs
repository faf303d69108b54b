//! Files are read back by the crate's own reader: rows are the records, whatever the writer did with pages and row groups.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression as Codec;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field as Cell, Row};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use skidway_record::{BatchBuilder, Compressor, Decoded, EncodedHeaders, Offset, PartitionId, TopicName};

use super::members::members;
use super::write::ParquetFile;
use super::{Field, Learning, Table, digest};
use crate::json::Column;
use crate::sink::file::Finished;

const COLUMNS: [Column; 6] =
    [Column::Topic, Column::Partition, Column::Offset, Column::Timestamp, Column::Key, Column::Headers];

type Bytes = Option<Vec<u8>>;

/// Is a record as it goes in and comes out: key, value, headers.
type Told = (Bytes, Bytes, Vec<(Vec<u8>, Bytes)>);

fn batch(records: &[Told]) -> Decoded {
    let mut builder = BatchBuilder::new();
    for (at, (key, value, headers)) in records.iter().enumerate() {
        let headers = EncodedHeaders::new(headers.iter().map(|(name, value)| (&name[..], value.as_deref())));
        builder.push(at as i64 * 1000, key.as_deref(), value.as_deref(), &headers);
    }
    builder.finish(&mut Compressor::new(1).unwrap()).unwrap().decode().unwrap()
}

/// Writes records with a writer of these properties, as many bytes a row group.
fn written(
    path: &Path,
    (table, batch): (&Arc<Table>, &Decoded),
    (properties, group_bytes): (WriterProperties, usize),
) -> Finished {
    let mut file = ParquetFile::with(path, table, Arc::new(properties), group_bytes).unwrap();
    let topic = TopicName::new("app").unwrap();
    for record in batch.records().map(Result::unwrap) {
        let offset = Offset(u64::from(record.offset_delta));
        file.write((&topic, PartitionId(3), offset), &record, None).unwrap();
    }
    file.finish().unwrap()
}

fn plain() -> WriterProperties {
    WriterProperties::builder().build()
}

fn rows(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn cells(row: &Row) -> BTreeMap<&str, &Cell> {
    row.get_column_iter().map(|(name, cell)| (name.as_str(), cell)).collect()
}

/// Gives what is in a column of text, or in the one beside it.
fn bytes(cells: &BTreeMap<&str, &Cell>, name: &str) -> Bytes {
    match (cells[name], cells[&*format!("{name}_binary")]) {
        (Cell::Str(text), Cell::Null) => Some(text.clone().into_bytes()),
        (Cell::Null, Cell::Bytes(bytes)) => Some(bytes.data().to_vec()),
        (Cell::Null, Cell::Null) => None,
        both => panic!("{name} is {both:?}"),
    }
}

fn told(row: &Row) -> Told {
    let cells = cells(row);
    let Cell::MapInternal(map) = cells["headers"] else { panic!("{:?}", cells["headers"]) };
    let text = |cell: &Cell| match cell {
        Cell::Str(text) => Some(text.clone().into_bytes()),
        _ => None,
    };
    let unbase64 = |value: &Value| match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(object) => {
            use base64::Engine;
            let text = object["base64"].as_str().unwrap();
            Some(base64::engine::general_purpose::STANDARD.decode(text).unwrap())
        }
        _ => None,
    };
    let headers = match cells["headers_json"] {
        Cell::Str(json) => {
            let all: Vec<(Value, Value)> = serde_json::from_str(json).unwrap();
            all.iter().map(|(name, value)| (unbase64(name).unwrap(), unbase64(value))).collect()
        }
        _ => map.entries().iter().map(|(name, value)| (text(name).unwrap(), text(value))).collect(),
    };
    (bytes(&cells, "key"), bytes(&cells, "value"), headers)
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    option::of(prop_oneof![
        "[a-c ä]{0,12}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
        Just(vec![b'x'; 3000]),
        Just(b"{\"a\":1}".to_vec()),
    ])
}

fn any_record() -> impl Strategy<Value = Told> {
    let name = prop_oneof![Just(b"host".to_vec()), Just(b"path".to_vec()), vec(any::<u8>(), 1..3)];
    (any_bytes(), any_bytes(), vec((name, any_bytes()), 0..4))
}

/// Is a JSON value as it may be written.
fn any_json() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i32>().prop_map(|number| format!("{}", f64::from(number) / 8.0)),
        Just("null".to_owned()),
        Just("true".to_owned()),
        "[a-zä\"\\\\]{0,8}".prop_map(|text| Value::from(text).to_string()),
        Just("{\"deep\": [1, {\"x\": null}]}".to_owned()),
        Just("18446744073709551615".to_owned()),
    ]
}

fn any_object() -> impl Strategy<Value = String> {
    let member =
        prop_oneof!["[a-fA-F]", Just("timestamp".to_owned()), Just("two words".to_owned()), Just("a/b~c".to_owned())];
    proptest::collection::btree_map(member, any_json(), 0..8).prop_map(|members| {
        let members: Vec<String> =
            members.iter().map(|(name, json)| format!("{}: {json}", Value::from(name.as_str()))).collect();
        format!("{{{}}}", members.join(", "))
    })
}

/// Puts the object together again from columns and rest; null is as good as absent.
fn object(row: &Row, fields: &[Field]) -> Map<String, Value> {
    let cells = cells(row);
    let mut object = match cells["_rest"] {
        Cell::Str(rest) => serde_json::from_str(rest).unwrap(),
        _ => Map::new(),
    };
    for field in fields {
        let value = match cells[&*field.name] {
            Cell::Null => continue,
            Cell::Str(text) if field.kind == super::Kind::Json => serde_json::from_str(text).unwrap(),
            Cell::Str(text) => json!(text),
            Cell::Long(number) => json!(number),
            Cell::Double(number) => json!(number),
            Cell::Bool(is) => json!(is),
            other => panic!("{other:?}"),
        };
        let member = field.from[1..].replace("~1", "/").replace("~0", "~");
        assert_eq!(object.insert(member, value), None, "{} is in a column and in the rest", field.name);
    }
    object.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, as_double(value))).collect()
}

/// Lets 1 and 1.0 be the same, where the one is exactly the other.
fn as_double(value: Value) -> Value {
    match value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)) {
        Some(number) if (number as f64) as i128 == number => json!(number as f64),
        _ => value,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_are_the_records_and_no_encoding_or_grouping_changes_the_digest(records in vec(any_record(), 1..60)) {
        let temp = tempfile::tempdir().unwrap();
        let columns = [&COLUMNS[..], &[Column::Host, Column::Path, Column::Value]].concat();
        let (table, batch) = (Arc::new(Table::new(&columns, None).unwrap()), batch(&records));
        let small_pages = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(3)
            .set_write_batch_size(2)
            .build();
        let zstd = WriterProperties::builder().set_compression(Codec::ZSTD(Default::default())).build();
        let ways = [(plain(), 1 << 20), (plain(), 1), (small_pages, 5000), (zstd, 700)];
        let mut digests = Vec::new();
        for (at, way) in ways.into_iter().enumerate() {
            let path = temp.path().join(at.to_string());
            let finished = written(&path, (&table, &batch), way);
            prop_assert_eq!(&digest(File::open(&path).unwrap()).unwrap(), &finished.digest);
            let found: Vec<Told> = rows(&path).iter().map(told).collect();
            prop_assert_eq!(&found, &records);
            digests.push(finished.digest);
        }
        digests.dedup();
        prop_assert_eq!(digests.len(), 1);
    }

    #[test]
    fn columns_and_rest_together_are_the_object(early in vec(any_object(), 1..20), late in vec(any_object(), 0..20)) {
        let temp = tempfile::tempdir().unwrap();
        let mut learning = Learning::new(Arc::default(), Vec::new());
        early.iter().for_each(|value| learning.look_at(Some(value.as_bytes())));
        learning.settle();
        let table = Arc::new(Table::new(&COLUMNS, Some(learning.fields())).unwrap());
        let values: Vec<&String> = early.iter().chain(&late).collect();
        let records: Vec<Told> = values.iter().map(|value| (None, Some(value.as_bytes().to_vec()), Vec::new())).collect();
        let finished = written(&temp.path().join("f"), (&table, &batch(&records)), (plain(), 2000));
        prop_assert_eq!(digest(File::open(&finished.path).unwrap()).unwrap(), finished.digest);
        for (row, value) in rows(&finished.path).iter().zip(values) {
            let told: Map<String, Value> = serde_json::from_str(value).unwrap();
            let told: Map<String, Value> =
                told.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, as_double(value))).collect();
            prop_assert_eq!(object(row, learning.fields()), told);
        }
    }
}

fn records(values: &[&[u8]]) -> Vec<Told> {
    values.iter().map(|value| (None, Some(value.to_vec()), Vec::new())).collect()
}

#[test]
fn other_rows_have_another_digest() {
    let temp = tempfile::tempdir().unwrap();
    let columns = [Column::Key, Column::Value];
    let table = Arc::new(Table::new(&columns, None).unwrap());
    let cases: [&[&[u8]]; 6] =
        [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"ab", b"c", b""], &[b"c", b"ab"], &[b"ab\xff", b"c"]];
    let mut digests: Vec<String> = Vec::new();
    for case in cases {
        digests.push(written(&temp.path().join("f"), (&table, &batch(&records(case))), (plain(), 1 << 20)).digest);
    }
    let renamed = Arc::new(Table::new(&[Column::Key, Column::Value, Column::Host], None).unwrap());
    digests.push(written(&temp.path().join("f"), (&renamed, &batch(&records(cases[0]))), (plain(), 1 << 20)).digest);
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 7);
}

#[test]
fn values_that_are_no_objects_are_kept_whole() {
    let temp = tempfile::tempdir().unwrap();
    let values: [&[u8]; 6] = [b"text", b"[1]", b"\xff", b"{\"a\":1", b"{\"a\":1}", b"{}"];
    let fields = [Field::of_member("a", super::Kind::Long)];
    let table = Arc::new(Table::new(&[Column::Offset], Some(&fields)).unwrap());
    let finished = written(&temp.path().join("f"), (&table, &batch(&records(&values))), (plain(), 1 << 20));
    let found = rows(&finished.path);
    let whole: Vec<Bytes> = found.iter().map(|row| bytes(&cells(row), "value")).collect();
    let expected = values.map(|value| members(value).is_none().then(|| value.to_vec()));
    assert_eq!(whole, expected);
    assert_eq!((cells(&found[4])["a"], cells(&found[4])["_rest"]), (&Cell::Long(1), &Cell::Null));
}

#[test]
fn fields_are_found_by_pointers_and_what_is_not_in_columns_stays() {
    let temp = tempfile::tempdir().unwrap();
    let field = |name: &str, kind, from: &str| Field { name: name.into(), kind, from: from.into() };
    let fields = [
        field("status", super::Kind::Long, "/status"),
        field("ms", super::Kind::Double, "/request/ms"),
        field("at", super::Kind::Timestamp, "/at"),
    ];
    let table = Arc::new(Table::new(&[], Some(&fields)).unwrap());
    let values: [&[u8]; 3] = [
        br#"{"status":200,"request":{"ms":1.5},"at":"2026-11-22T10:00:00Z"}"#,
        br#"{"status":"ok","status":7,"more":[1]}"#,
        br#"{"at":"2026-11-22T10:00:00.123456789Z"}"#,
    ];
    let finished = written(&temp.path().join("f"), (&table, &batch(&records(&values))), (plain(), 1 << 20));
    let found = rows(&finished.path);
    let shown = |row: usize| {
        let cells = cells(&found[row]);
        ["status", "ms", "at", "_rest"].map(|name| cells[name].to_string())
    };
    assert_eq!(shown(0)[..2], ["200", "1.5"]);
    assert_eq!(shown(0)[3], r#""{"request":{"ms":1.5}}""#);
    assert_eq!((&*shown(1)[0], &*shown(1)[3]), ("7", r#""{"status":"ok","more":[1]}""#));
    assert_eq!((shown(2)[2] == "null", &*shown(2)[3]), (false, r#""{"at":"2026-11-22T10:00:00.123456789Z"}""#));
}

#[test]
fn a_file_that_is_damaged_or_anothers_has_no_digest_of_ours() {
    let temp = tempfile::tempdir().unwrap();
    let table = Arc::new(Table::new(&[Column::Value], None).unwrap());
    let finished = written(&temp.path().join("f"), (&table, &batch(&records(&[b"a", b"b"]))), (plain(), 1 << 20));
    let whole = std::fs::read(&finished.path).unwrap();
    for cut in [0, 3, 8, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&finished.path, &whole[..cut]).unwrap();
        assert!(digest(File::open(&finished.path).unwrap()).is_err(), "{cut} of {} bytes", whole.len());
    }
}

#[test]
fn odd_bytes_are_another_file_and_no_panic_leaves_the_reader() {
    let temp = tempfile::tempdir().unwrap();
    let table = Arc::new(Table::new(&COLUMNS, Some(&[Field::of_member("n", super::Kind::Long)])).unwrap());
    let values: Vec<Vec<u8>> = (0..200).map(|n| format!("{{\"n\":{n},\"s\":\"x{}\"}}", n % 7).into_bytes()).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let path = temp.path().join("f");
    let finished = written(&path, (&table, &batch(&records(&values))), (plain(), 4 << 10));
    let whole = std::fs::read(&finished.path).unwrap();
    // Each byte in turn. Some say nothing of the rows: statistics, names of who wrote it.
    let is_same = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        digest(File::open(&path).unwrap()).is_ok_and(|found| found == finished.digest)
    };
    let same = (0..whole.len()).filter(|at| is_same(*at)).count();
    assert!(same < whole.len() / 2, "{same} of {}", whole.len());
}
