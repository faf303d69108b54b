//! Places of one topic's reader as offsets by partition, and back: for those who read by key and hand out the tokens of all readers.

use skidway_record::{Offset, PartitionId};

use crate::read::Token;
use crate::read::token::TopicPlace;

/// Gives the next offset of each partition.
pub(super) fn of(token: &Token) -> Vec<(PartitionId, Offset)> {
    let of = |place: &TopicPlace| {
        let parts = place.positions.iter().enumerate().map(|(index, offset)| (place.partition(index), *offset));
        parts.collect::<Vec<_>>()
    };
    token.topics.iter().flat_map(of).collect()
}

/// Gives the token with these next offsets.
pub(super) fn moved(token: &Token, places: &[(PartitionId, Offset)]) -> String {
    let mut token = token.clone();
    for place in &mut token.topics {
        for (partition, offset) in places {
            if let Some(index) = place.index(*partition) {
                place.positions[index] = *offset;
            }
        }
    }
    token.encode()
}
