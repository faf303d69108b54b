//! From a record to its row: what goes into which column.

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skidway_record::record::Header;
use skidway_record::{Offset, PartitionId, Record, TopicName};

use super::fields::Learning;
use super::leaf::Leaf;
use super::members::{Took, find, members, put};
use super::table::{Object, Table};
use crate::json::{Column, header};

/// Names a record.
pub(in crate::sink) type At<'t> = (&'t TopicName, PartitionId, Offset);

/// Appends a record's row; members that have no column are noted.
pub(super) fn push(
    leaves: &mut [Leaf],
    table: &Table,
    (topic, partition, offset): At<'_>,
    record: &Record<'_>,
    learning: Option<&mut Learning>,
) {
    for (column, place) in &table.columns {
        match column {
            Column::Topic => leaves[*place].push_bytes(topic.as_str().as_bytes()),
            // Both fit: partitions are few, and Kafka's offsets are signed.
            Column::Partition => leaves[*place].push_int(partition.0 as i32),
            Column::Offset => leaves[*place].push_long(offset.0 as i64),
            Column::Timestamp => leaves[*place].push_long(record.timestamp_ms),
            Column::Headers => push_headers(&mut leaves[*place..], record),
            Column::Key => push_text(&mut leaves[*place..], record.key),
            Column::Host => push_text(&mut leaves[*place..], header(record, b"host")),
            Column::Path => push_text(&mut leaves[*place..], header(record, b"path")),
            Column::Value => push_text(&mut leaves[*place..], record.value),
        }
    }
    if let Some(object) = &table.object {
        push_object(leaves, object, record.value, learning);
    }
}

/// Takes a value apart, if it is a JSON object.
fn push_object(leaves: &mut [Leaf], object: &Object, value: Option<&[u8]>, mut learning: Option<&mut Learning>) {
    let members = value.and_then(members);
    if let Some(place) = object.others {
        push_text(&mut leaves[place..], value.filter(|_| members.is_none()));
    }
    // Of columns that are no lists, all have the same rows but those that this one is still to fill.
    let rows = leaves[object.rest].rows();
    let mut rest = String::new();
    for (name, json) in members.unwrap_or_default() {
        let mut is_in_columns = false;
        for target in object.by_member.get(&*name).into_iter().flatten().map(|at| &object.fields[*at]) {
            let leaf = &mut leaves[target.place];
            if let Some(json) = find(json, &target.below).filter(|_| leaf.rows() == rows) {
                let took = put(leaf, target.kind, json);
                is_in_columns |= took == Took::All && target.below.is_empty();
            }
        }
        if !is_in_columns {
            rest.push(if rest.is_empty() { '{' } else { ',' });
            rest.push_str(&Value::from(&*name).to_string());
            rest.push(':');
            rest.push_str(json);
            learning.iter_mut().for_each(|learning| learning.note(&name, json));
        }
    }
    for target in &object.fields {
        if leaves[target.place].rows() == rows {
            leaves[target.place].push_null();
        }
    }
    if rest.is_empty() {
        leaves[object.rest].push_null();
    } else {
        rest.push('}');
        leaves[object.rest].push_bytes(rest.as_bytes());
    }
}

/// Fills a column of text and the one beside it, for bytes that are no text.
fn push_text(leaves: &mut [Leaf], bytes: Option<&[u8]>) {
    let (text, binary) = match bytes.map(|bytes| (bytes, str::from_utf8(bytes).is_ok())) {
        Some((text, true)) => (Some(text), None),
        Some((binary, false)) => (None, Some(binary)),
        None => (None, None),
    };
    for (leaf, bytes) in leaves.iter_mut().zip([text, binary]) {
        match bytes {
            Some(bytes) => leaf.push_bytes(bytes),
            None => leaf.push_null(),
        }
    }
}

/// Fills the map of headers: the first of each name, text alone. What the map cannot say is beside it, all headers as JSON.
fn push_headers(leaves: &mut [Leaf], record: &Record<'_>) {
    let (mut is_first, mut is_odd) = (true, false);
    for (at, header) in record.headers().enumerate() {
        let is_text = |bytes: &[u8]| str::from_utf8(bytes).is_ok();
        let is_again = record.headers().take(at).any(|earlier| earlier.key == header.key);
        is_odd |= is_again || !is_text(header.key) || !header.value.is_none_or(is_text);
        if is_again || !is_text(header.key) {
            continue;
        }
        leaves[0].push_entry(Some(header.key), 1, is_first);
        let value = header.value.filter(|value| is_text(value));
        leaves[1].push_entry(value, if value.is_some() { 2 } else { 1 }, is_first);
        is_first = false;
    }
    if is_first {
        leaves[..2].iter_mut().for_each(|leaf| leaf.push_entry(None, 0, true));
    }
    if is_odd {
        let pair = |header: Header<'_>| json!([shown(header.key), header.value.map(shown)]);
        let all: Vec<Value> = record.headers().map(pair).collect();
        leaves[2].push_bytes(Value::from(all).to_string().as_bytes());
    } else {
        leaves[2].push_null();
    }
}

fn shown(bytes: &[u8]) -> Value {
    str::from_utf8(bytes).map_or_else(|_| json!({"base64": STANDARD.encode(bytes)}), Value::from)
}
