//! A place in a topic, as text that readers keep and hand back.
//!
//! Pure. Opaque to readers; to us it is `t1` and the unpadded base64url of
//!
//! ```text
//! topic id 16 bytes | log epoch | scope | turn | position …        all but the id: varints of `record::varint`
//! ```
//!
//! `scope` is 0 for all partitions, or one more than the only partition. `turn` numbers the position that is looked at
//! first, so that pages of few records still serve every partition. A position is the next offset of one partition.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skidway_record::limits::PARTITIONS_MAX;
use skidway_record::{Offset, PartitionId, varint};

/// Begins every token and numbers its format. Neither a date nor a keyword begins like it.
const VERSION: &str = "t1";

/// Says which partitions a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All, those to come included.
    All,
    /// Only this one.
    One(PartitionId),
}

/// Holds a place: the next offset of every partition read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token {
    /// Id of the topic; a recreated one has another.
    pub topic: [u8; 16],
    /// Epoch of the log; a restored one has another.
    pub log_epoch: u64,
    /// Which partitions.
    pub scope: Scope,
    /// Index into `positions` of the partition whose turn it is; less than their number, or 0.
    pub turn: u32,
    /// Next offset by partition, from 0; of the only one if the scope is one.
    pub positions: Vec<Offset>,
}

impl Token {
    /// Writes the token as text, URL-safe.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(20 + 4 * self.positions.len());
        bytes.extend_from_slice(&self.topic);
        varint::write(&mut bytes, self.log_epoch as i64);
        varint::write(&mut bytes, if let Scope::One(partition) = self.scope { i64::from(partition.0) + 1 } else { 0 });
        varint::write(&mut bytes, i64::from(self.turn));
        for position in &self.positions {
            varint::write(&mut bytes, position.0 as i64);
        }
        let mut text = String::with_capacity(VERSION.len() + bytes.len().div_ceil(3) * 4);
        text.push_str(VERSION);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
        text
    }

    /// Reads a token; `None` if it is not one that [`Token::encode`] writes.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(VERSION)?).ok()?;
        let (topic, mut rest) = bytes.split_first_chunk::<16>()?;
        let mut number = || varint::read(&mut rest).and_then(|value| u64::try_from(value).ok());
        let log_epoch = number()?;
        let scope = match u32::try_from(number()?).ok()? {
            0 => Scope::All,
            next => Scope::One(PartitionId(next - 1)),
        };
        let turn = u32::try_from(number()?).ok()?;
        let mut positions = Vec::new();
        while !rest.is_empty() {
            let position = varint::read(&mut rest).and_then(|value| u64::try_from(value).ok())?;
            positions.push(Offset(position));
        }
        let one_too_many = matches!(scope, Scope::One(_)) && positions.len() != 1;
        if positions.is_empty() || positions.len() > PARTITIONS_MAX as usize || one_too_many {
            return None;
        }
        Some(Self { topic: *topic, log_epoch, scope, turn: turn % positions.len() as u32, positions })
    }

    /// Names the partition that `positions[index]` belongs to.
    pub fn partition(&self, index: usize) -> PartitionId {
        match self.scope {
            Scope::All => PartitionId(index as u32),
            Scope::One(partition) => partition,
        }
    }

    /// Finds the index of a partition's position; `None` if the token does not cover the partition.
    pub fn index(&self, partition: PartitionId) -> Option<usize> {
        match self.scope {
            Scope::All => Some(partition.0 as usize).filter(|&index| index < self.positions.len()),
            Scope::One(only) => (only == partition).then_some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(scope: Scope, turn: u32, positions: &[u64]) -> Token {
        let positions = positions.iter().copied().map(Offset).collect();
        Token { topic: [0xfe; 16], log_epoch: 3, scope, turn, positions }
    }

    #[test]
    fn tokens_round_trip_and_are_url_safe() {
        let many: Vec<u64> = (0..1000).map(|n| n << 40).collect();
        let all = [
            token(Scope::All, 0, &[0]),
            token(Scope::All, 3, &[1, 200, 30_000, 1 << 60]),
            token(Scope::One(PartitionId(999)), 0, &[7]),
            token(Scope::All, 999, &many),
        ];
        for token in all {
            let text = token.encode();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
            assert_eq!(Token::decode(&text), Some(token));
        }
    }

    #[test]
    fn whatever_else_is_not_a_token() {
        let good = token(Scope::One(PartitionId(2)), 0, &[7]).encode();
        let two = token(Scope::One(PartitionId(2)), 0, &[7, 8]).encode();
        let none = token(Scope::All, 0, &[]).encode();
        let cut = &good[..good.len() - 3];
        for bad in ["", "t1", "t1!", "latest", "2026-01-01T00:00:00Z", "t2AAAA", cut, &two, &none, "-5"] {
            assert_eq!(Token::decode(bad), None, "{bad}");
        }
    }
}
