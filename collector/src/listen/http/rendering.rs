//! What a stream sends, in bytes: the records of a turn as a piece that others may share, and places as JSON.

use bytes::BytesMut;
use skidway_record::{Offset, PartitionId};

use crate::listen::http::stream::{Form, Framing};
use crate::metrics;
use crate::read::{Piece, PieceKey, ReadError, Subscription, Token, Turn};

/// Shows offsets by partition as a JSON object.
pub(super) fn offsets_json(offsets: &[(PartitionId, Offset)]) -> String {
    let members: Vec<String> = offsets.iter().map(|(partition, offset)| format!("\"{partition}\":{offset}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Writes how far partitions may be read, a JSON object: by partition, or by topic if there may be many.
pub(super) fn high_watermarks(subscription: &Subscription) -> String {
    let topics = subscription.high_watermarks();
    match topics.as_slice() {
        [(_, marks)] if !subscription.place().is_many => offsets_json(marks),
        // A topic's name needs no escape.
        topics => {
            let members = topics.iter().map(|(name, marks)| format!("\"{name}\":{}", offsets_json(marks)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

/// Names what a turn's next records look like.
pub(super) fn key(turn: &Turn, place: &Token, form: &Form) -> PieceKey {
    PieceKey {
        topic: turn.shard.topic,
        partition: turn.shard.partition,
        crc: turn.batch.header().crc,
        from: turn.from,
        form: form.id,
        place: form.shows_place.then(|| place.clone()),
    }
}

/// Writes records of a turn, at least one, moving the place, until there are as many or as many bytes as were asked for.
pub(super) fn render<F: Framing>(
    framing: &mut F,
    turn: &Turn,
    (place, (topic, index)): (&mut Token, (usize, usize)),
    records_max: u64,
    bytes_max: usize,
) -> Result<Piece, ReadError> {
    metrics::rendered();
    framing.turn_to(&turn.of, place);
    let partition = turn.of.partition;
    let (mut records, mut end) = (0, turn.from);
    let mut out = BytesMut::with_capacity((turn.bytes() * 3 / 2).min(bytes_max + bytes_max / 8));
    for record in turn.records() {
        let (offset, record) = match record {
            Ok(record) => record,
            // Told once those before it are sent.
            Err(_) if records > 0 => return Ok(piece(out, end, records)),
            Err(error) => return Err(error),
        };
        (records, end) = (records + 1, Offset(offset.0 + 1));
        place.topics[topic].positions[index] = end;
        framing.record(&mut out, (partition, offset), &record, place);
        if records == records_max || out.len() >= bytes_max {
            return Ok(piece(out, end, records));
        }
    }
    Ok(piece(out, turn.end(), records))
}

fn piece(out: BytesMut, end: Offset, records: u64) -> Piece {
    Piece { capacity: out.capacity(), bytes: out.freeze(), end, records }
}
