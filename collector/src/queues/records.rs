//! Records as a queue needs them: what they wait for and are ordered by, and their JSON. Reads the log, never changes it.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use skidway_daemon::config::parse_duration;
use skidway_record::{Batch, Decoded, Offset, Record, TopicPartition};

use super::share::KeyHash;
use crate::blocking::blocking;
use crate::json::{RecordWriter, header};
use crate::log::{Damage, LogError, LogReader};

/// Header that says when a record may be given away first: RFC 3339 or ms since 1970.
pub const DELIVER_AT: &str = "skidway-deliver-at";

/// Header that says how long a record waits, from its timestamp on: `"30s"`.
pub const DELAY: &str = "skidway-delay";

/// Bytes asked of the log at once.
const FETCH_BYTES: usize = 256 << 10;

/// Decodes and renders up to this many bytes without leaving the runtime.
const INLINE_BYTES: usize = 16 << 10;

/// A decoded batch of more than this is not kept for the next look.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Says what to look at.
#[derive(Debug, Clone)]
pub struct Look {
    /// Where.
    pub of: TopicPartition,
    /// From which offset on.
    pub from: Offset,
    /// At most so many records.
    pub records_max: usize,
    /// Their JSON is kept up to so many bytes.
    pub json_bytes_max: usize,
    /// How long a record waits that does not say so itself.
    pub delay_ms: u64,
    /// The batch that was decoded last, which may reach further.
    pub kept: Option<Arc<Decoded>>,
}

/// Is what a look has found.
#[derive(Debug, Default)]
pub struct Seen {
    /// In the order of their offsets.
    pub found: Vec<Found>,
    /// First offset that was not looked at.
    pub next: Offset,
    /// The last batch, if it reaches further.
    pub kept: Option<Arc<Decoded>>,
}

/// Is a record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub offset: Offset,
    /// Hash of its key.
    pub key: Option<KeyHash>,
    /// When it may be given away first, in ms since 1970.
    pub not_before: Option<i64>,
    /// Length of its JSON.
    pub json_bytes: usize,
    /// Its JSON, without the opening brace.
    pub json: Option<Bytes>,
}

/// Looks at the next records.
///
/// # Errors
/// [`LogError`]; damage and what is out of range only if it is what comes first.
pub async fn look(log: &dyn LogReader, mut look: Look) -> Result<Seen, LogError> {
    let mut seen = Seen { next: look.from, ..Seen::default() };
    if let Some(kept) = look.kept.take().filter(|kept| reaches(kept, look.from)) {
        seen = take(kept, &look, seen).await?;
    }
    while seen.found.len() < look.records_max && seen.kept.is_none() {
        let batches = match log.fetch(look.of.clone(), seen.next, FETCH_BYTES).await {
            Ok(batches) => batches,
            Err(_) if !seen.found.is_empty() => break,
            Err(error) => return Err(error),
        };
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            let decoded = match decode(&look.of, batch).await {
                Ok(decoded) => decoded,
                Err(_) if !seen.found.is_empty() => return Ok(seen),
                Err(error) => return Err(error),
            };
            seen = take(decoded, &look, seen).await?;
            if seen.kept.is_some() || seen.found.len() >= look.records_max {
                break;
            }
        }
    }
    Ok(seen)
}

/// Gives the JSON of single records, by their offsets; those that cannot be had are missing.
///
/// # Errors
/// [`LogError`] but for damage and what is out of range.
pub async fn json_of(
    log: &dyn LogReader,
    of: &TopicPartition,
    offsets: &[Offset],
) -> Result<BTreeMap<Offset, Bytes>, LogError> {
    let mut found = BTreeMap::new();
    let mut render = |offset, record: &Record<'_>| _ = found.insert(offset, render(of, offset, record));
    each(log, of, offsets, &mut render).await?;
    Ok(found)
}

/// Hands over single records, given in the order of their offsets; those that cannot be had are left out.
///
/// # Errors
/// [`LogError`] but for damage and what is out of range.
pub async fn each(
    log: &dyn LogReader,
    of: &TopicPartition,
    offsets: &[Offset],
    take: &mut (dyn FnMut(Offset, &Record<'_>) + Send),
) -> Result<(), LogError> {
    let mut rest = offsets;
    while let Some(first) = rest.first() {
        let decoded = match log.fetch(of.clone(), *first, 1).await.map(|batches| batches.into_iter().next()) {
            Ok(Some(batch)) => decode(of, batch).await,
            Ok(None) => return Ok(()),
            Err(error) => Err(error),
        };
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(LogError::OutOfRange { .. } | LogError::Damaged(_)) => {
                rest = &rest[1..];
                continue;
            }
            Err(error) => return Err(error),
        };
        for record in decoded.records().map_while(Result::ok) {
            let offset = decoded.offset_of(&record);
            if rest.binary_search(&offset).is_ok() {
                take(offset, &record);
            }
        }
        let next = end_of(&decoded).max(Offset(first.0 + 1));
        rest = &rest[rest.partition_point(|offset| *offset < next)..];
    }
    Ok(())
}

/// Gives the timestamp of the batch that holds a record, in ms since 1970; `None` if it cannot be had.
pub async fn timestamp_at(log: &dyn LogReader, of: &TopicPartition, at: Offset) -> Option<i64> {
    let batches = log.fetch(of.clone(), at, 1).await.ok()?;
    batches.first().map(|batch| batch.header().base_timestamp_ms)
}

/// Decodes a batch, on another thread if it is large.
///
/// # Errors
/// [`LogError::Damaged`] if it does not decode.
pub async fn decode(of: &TopicPartition, batch: Batch) -> Result<Arc<Decoded>, LogError> {
    let (from, next) = (batch.base_offset(), batch.next_offset());
    let is_small = batch.bytes().len() <= INLINE_BYTES;
    let decode = move || batch.verify_crc().and_then(|()| batch.decode());
    let decoded = if is_small { decode() } else { blocking(decode).await };
    decoded.map(Arc::new).map_err(|error| damaged(of, from, next, error.to_string()))
}

fn damaged(of: &TopicPartition, from: Offset, next: Offset, reason: String) -> LogError {
    let (topic, partition) = (of.topic.clone(), of.partition);
    LogError::Damaged(Box::new(Damage { topic, partition, from, next, file: None, position: None, reason }))
}

/// Takes the records of a batch, on another thread if it is large.
async fn take(batch: Arc<Decoded>, look: &Look, seen: Seen) -> Result<Seen, LogError> {
    if batch.body_bytes() <= INLINE_BYTES {
        return take_now(&batch, look, seen);
    }
    let look = look.clone();
    blocking(move || take_now(&batch, &look, seen)).await
}

fn take_now(batch: &Arc<Decoded>, look: &Look, mut seen: Seen) -> Result<Seen, LogError> {
    seen.kept = None;
    let mut json_bytes: usize = seen.found.iter().filter_map(|found| found.json.as_ref()).map(Bytes::len).sum();
    for record in batch.records() {
        let record = match record {
            Ok(record) => record,
            Err(_) if !seen.found.is_empty() => return Ok(seen),
            Err(error) => return Err(damaged(&look.of, seen.next, end_of(batch), error.to_string())),
        };
        let offset = batch.offset_of(&record);
        if offset < seen.next {
            continue;
        }
        if seen.found.len() >= look.records_max {
            seen.kept = (batch.body_bytes() <= KEPT_BYTES_MAX).then(|| batch.clone());
            return Ok(seen);
        }
        let json = render(&look.of, offset, &record);
        let length = json.len();
        let json = (json_bytes + length <= look.json_bytes_max).then_some(json);
        json_bytes += json.as_ref().map_or(0, Bytes::len);
        let (key, not_before) = (record.key.map(hash), not_before(&record, look.delay_ms));
        seen.found.push(Found { offset, key, not_before, json_bytes: length, json });
        seen.next = Offset(offset.0 + 1);
    }
    seen.next = seen.next.max(end_of(batch));
    Ok(seen)
}

fn reaches(batch: &Decoded, at: Offset) -> bool {
    batch.header().base_offset.max(0) as u64 <= at.0 && at < end_of(batch)
}

/// Gives the offset after a batch's last one.
pub fn end_of(batch: &Decoded) -> Offset {
    Offset(batch.header().next_offset().max(0) as u64)
}

fn hash(key: &[u8]) -> KeyHash {
    let mut hasher = twox_hash::XxHash64::with_seed(0);
    hasher.write(key);
    hasher.finish()
}

fn render(of: &TopicPartition, offset: Offset, record: &Record<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(128 + record.bytes());
    RecordWriter::new(&of.topic, false).write(&mut out, of.partition, offset, record, None);
    out.freeze().slice(1..)
}

/// Tells when a record may be given away first. A header that cannot be understood counts as none.
fn not_before(record: &Record<'_>, delay_ms: u64) -> Option<i64> {
    let text = |name: &str| header(record, name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok());
    if let Some(at) = text(DELIVER_AT).and_then(time) {
        return Some(at);
    }
    let delay_ms = text(DELAY).and_then(parse_duration).map_or(delay_ms, |delay| delay.as_millis() as u64);
    (delay_ms > 0).then(|| record.timestamp_ms.saturating_add(delay_ms.min(i64::MAX as u64) as i64))
}

fn time(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| text.parse::<Timestamp>().ok().map(|time| time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders};

    #[test]
    fn headers_say_when_a_record_may_be_given_away() {
        type Headers = [(&'static str, &'static str)];
        let cases: [(&Headers, u64, Option<i64>); 7] = [
            (&[], 0, None),
            (&[], 500, Some(1_500)),
            (&[("skidway-delay", "2s")], 500, Some(3_000)),
            (&[("skidway-delay", "0s")], 500, None),
            (&[("skidway-deliver-at", "1970-01-01T00:00:09Z"), ("skidway-delay", "2s")], 0, Some(9_000)),
            (&[("skidway-deliver-at", "7000")], 500, Some(7_000)),
            (&[("skidway-deliver-at", "tomorrow"), ("skidway-delay", "soon")], 0, None),
        ];
        for (headers, delay_ms, expected) in cases {
            let encoded =
                EncodedHeaders::new(headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
            let mut builder = BatchBuilder::new();
            builder.push(1_000, None, Some(b"x"), &encoded);
            let batch = builder.finish(&mut Compressor::new(1).unwrap()).unwrap().decode().unwrap();
            let record = batch.records().next().unwrap().unwrap();
            assert_eq!(not_before(&record, delay_ms), expected, "{headers:?}");
        }
    }
}
