//! Shows one of a log's files, a line for each thing in it: as text, or as JSON objects. Judges nothing, changes nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use skidway_disk::{Disk, DiskFile, Open};
use skidway_record::{Batch, Decoded, Record};

use crate::checkpoint;
use crate::error::Error;
use crate::index::{Entry, OffsetEntry, TimeEntry};
use crate::inspect::journals;
use crate::inspect::segments;
use crate::segment::base_offset_of;
use crate::survey::{Damaged, Piece};

/// Offsets end below this where nothing else says where.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// Says how to show a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dump {
    /// A JSON object a line, instead of text.
    pub json: bool,
    /// The records of batches too, with their values.
    pub records: bool,
}

/// Shows the file at `path`, which its name says the kind of: `*.log`, `*.index`, `*.timeindex`, `*.journal`, `checkpoint`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] if it is of no kind known, or a checkpoint that cannot be read.
pub fn dump(disk: &dyn Disk, path: &Path, how: Dump, out: &mut dyn Write) -> Result<(), Error> {
    let mut lines = Lines { how, path: path.to_owned(), out };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.rsplit_once('.').map_or(name, |(_, extension)| extension) {
        "log" => lines.segment(disk),
        "index" => lines.index(disk, |entry: OffsetEntry| json!({"offset": entry.offset, "position": entry.position})),
        "timeindex" => {
            lines.index(disk, |entry: TimeEntry| json!({"timestamp_ms": entry.timestamp_ms, "offset": entry.offset}))
        }
        "journal" => lines.journal(disk),
        "checkpoint" => lines.checkpoint(disk),
        _ => Err(Error::corrupt(path, 0, "its name is not that of a segment, index, journal or checkpoint")),
    }
}

struct Lines<'a> {
    how: Dump,
    path: PathBuf,
    out: &'a mut dyn Write,
}

impl Lines<'_> {
    fn segment(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let base_offset = base_offset_of(name).unwrap_or(0);
        let (file, len) = self.open(disk)?;
        let mut survey = segments::survey(file, base_offset, len, OFFSET_MAX);
        while let Some(piece) = survey.next_piece() {
            match piece {
                Piece::Sound { position, batch, stray_epoch } => {
                    self.line("batch", batch_members(position, &batch, stray_epoch))?;
                    if self.how.records {
                        self.records(&batch)?;
                    }
                }
                Piece::Damaged(Damaged { position, end, from, next, reason }) => {
                    let next = (next < OFFSET_MAX).then_some(next);
                    let bytes = end - position;
                    let members = json!({"position": position, "bytes": bytes, "offset": from, "next_offset": next,
                        "reason": reason});
                    self.line("damaged", members)?;
                }
            }
        }
        Ok(())
    }

    fn records(&mut self, batch: &Batch) -> Result<(), Error> {
        let decoded = match batch.decode() {
            Ok(decoded) => decoded,
            Err(error) => return self.line("undecodable", json!({"reason": error.to_string()})),
        };
        for record in decoded.records() {
            match record {
                Ok(record) => self.line("record", record_members(&decoded, &record))?,
                Err(error) => self.line("undecodable", json!({"reason": error.to_string()}))?,
            }
        }
        Ok(())
    }

    fn index<E: Entry>(&mut self, disk: &dyn Disk, members: impl Fn(E) -> Value) -> Result<(), Error> {
        let (file, len) = self.open(disk)?;
        let mut raw = vec![0; len as usize];
        let have = file.read_at(&mut raw, 0).map_err(Error::io("read", &self.path))?;
        for entry in raw[..have].chunks(E::BYTES) {
            match E::read(entry) {
                Some(entry) => self.line("entry", members(entry))?,
                None => self.line("rest", json!({"bytes": entry.len()}))?,
            }
        }
        Ok(())
    }

    fn journal(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        let mut frames = Vec::new();
        let path = self.path.clone();
        let mut end = crate::journal::JOURNAL_HEADER_BYTES;
        let mut failed = Ok(());
        let file_id = journals::each_frame(disk, &path, |position, frame| {
            if failed.is_err() {
                return;
            }
            frames.clear();
            if position > end {
                frames.push(("invalid", json!({"position": end, "bytes": position - end})));
            }
            end = position + frame.header.total_bytes as u64;
            frames.push((
                "commit",
                json!({"position": position, "bytes": frame.header.total_bytes, "lsn": frame.header.lsn,
                    "durable_lsn": frame.header.durable_lsn, "at_ms": frame.effects.at_ms}),
            ));
            let changes = frame.effects.changes.iter();
            frames.extend(changes.map(|change| {
                let shown = serde_json::to_value(change).unwrap_or_else(|_| json!(format!("{change:?}")));
                ("change", json!({ "change": shown }))
            }));
            let mut batches = frame.batches;
            while self.how.records
                && let Ok(batch) = Batch::take(&mut batches)
            {
                frames.push(("batch", batch_members(position, &batch, false)));
            }
            failed = frames.drain(..).try_for_each(|(kind, members)| self.line(kind, members));
        })?;
        failed?;
        let said = file_id.map_or("nothing tells the file's id".to_owned(), |id| hex(&id));
        self.line("end", json!({"position": end, "journal_file_id": said}))
    }

    fn checkpoint(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        let dir = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let Some(snapshot) = checkpoint::load(disk, &dir)? else {
            return Err(Error::corrupt(&self.path, 0, "there is none"));
        };
        let state = &snapshot.state;
        let identity = state.identity;
        let members = json!({"log_id": identity.id.to_string(), "log_epoch": identity.epoch, "lsn": state.lsn,
            "journal": snapshot.journal});
        self.line("checkpoint", members)?;
        for held in state.topics() {
            let config = serde_json::to_value(&held.topic.config).unwrap_or_default();
            let producers = held.producers.len();
            let members = json!({"name": held.topic.name.as_str(), "id": hex(&held.topic.id), "config": config,
                "producers": producers});
            self.line("topic", members)?;
            for (number, partition) in held.partitions.iter().enumerate() {
                let members = json!({"topic": held.topic.name.as_str(), "partition": number,
                    "log_start_offset": partition.log_start, "next_offset": partition.next_offset});
                self.line("partition", members)?;
            }
        }
        for (topic, partition, extents) in &snapshot.extents {
            for extent in extents {
                let extent = serde_json::to_value(extent).unwrap_or_default();
                self.line("segment", json!({"topic": hex(topic), "partition": partition, "extent": extent}))?;
            }
        }
        for agent in state.agents() {
            self.line("agent", serde_json::to_value(agent).unwrap_or_default())?;
            for stored in state.sources_of(&agent.session.agent, None, usize::MAX) {
                let path = String::from_utf8_lossy(&stored.source.path).into_owned();
                let members = json!({"id": stored.source.id.to_string(), "agent": stored.agent.as_str(), "path": path,
                    "input": stored.source.input, "topic": stored.source.topic.as_str(),
                    "partition": stored.partition, "position": stored.position, "gone_at_ms": stored.gone_at_ms});
                self.line("source", members)?;
            }
        }
        Ok(())
    }

    fn open(&self, disk: &dyn Disk) -> Result<(Arc<dyn DiskFile>, u64), Error> {
        let file = disk.open(&self.path, Open::Existing).map_err(Error::io("open", &self.path))?;
        let len = file.len().map_err(Error::io("measure", &self.path))?;
        Ok((file, len))
    }

    /// Writes one line: a kind, and its members.
    fn line(&mut self, kind: &str, members: Value) -> Result<(), Error> {
        let members = match members {
            Value::Object(members) => members,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        let written = if self.how.json {
            writeln!(self.out, "{}", json!({ kind: members }))
        } else {
            let shown: Vec<String> = members.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(self.out, "{kind} {}", shown.join(" "))
        };
        written.map_err(|error: io::Error| Error::io("write what was found in", &self.path)(error))
    }
}

fn batch_members(position: u64, batch: &Batch, stray_epoch: bool) -> Value {
    let header = batch.header();
    json!({
        "position": position,
        "bytes": header.total_bytes,
        "offset": batch.base_offset().0,
        "next_offset": batch.next_offset().0,
        "records": header.record_count,
        "crc": format!("{:08x}", header.crc),
        "compression": header.compression().map_or_else(|error| error.to_string(), |codec| format!("{codec:?}")),
        "base_timestamp_ms": header.base_timestamp_ms,
        "max_timestamp_ms": header.max_timestamp_ms,
        "stray_leader_epoch": stray_epoch,
    })
}

fn record_members(decoded: &Decoded, record: &Record<'_>) -> Value {
    let headers: Vec<Value> =
        record.headers().map(|header| json!([text(Some(header.key)), text(header.value)])).collect();
    json!({
        "offset": decoded.offset_of(record).0,
        "timestamp_ms": record.timestamp_ms,
        "key": text(record.key),
        "headers": headers,
        "value": text(record.value),
    })
}

/// Shows bytes as text, or else as base64.
fn text(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    std::str::from_utf8(bytes).map_or_else(|_| json!({"base64": STANDARD.encode(bytes)}), |text| json!(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
