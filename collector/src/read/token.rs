//! A place in topics, as text that readers keep and hand back.
//!
//! Pure. Opaque to readers; to us it is a version and the unpadded base64url of
//!
//! ```text
//! t1    topic id 16 bytes | log epoch | scope | turn | position …                        of one topic
//! t2    log epoch | turn | topic …                                                       of many
//!       topic = first 8 bytes of its id | scope | turn | count | position …
//! ```
//!
//! All but the ids are varints of `record::varint`. `scope` is 0 for all partitions, or one more than the only partition;
//! in `t2` it may also be -1: then the number of each partition stands before its position. A topic's `turn` numbers the position that is looked at
//! first, so that pages of few records still serve every partition; that of `t2` numbers the topic. A position is the
//! next offset of one partition.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skidway_record::limits::PARTITIONS_MAX;
use skidway_record::{Offset, PartitionId, varint};

/// Begins the tokens of one topic and numbers their format. Neither a date nor a keyword begins like it.
const ONE: &str = "t1";

/// Begins the tokens of many topics.
const MANY: &str = "t2";

/// Bounds the partitions of one subscription, all topics together: a token of so many still fits into a URL.
pub const SHARDS_MAX: usize = 4096;

/// Bounds the topics of one subscription.
pub const TOPICS_MAX: usize = 1024;

/// How many bytes of a topic's id stand in a token of many.
pub const ID_BYTES: usize = 8;

/// Names one incarnation of a topic; a recreated one has another.
pub type TopicId = [u8; 16];

/// Says which partitions of a topic a reader reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All, those to come included.
    All,
    /// Only this one.
    One(PartitionId),
    /// Only these, in ascending order.
    Some(Vec<PartitionId>),
}

/// Holds a place: the next offset of every partition read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token {
    /// Epoch of the log; a restored one has another.
    pub log_epoch: u64,
    /// Whether it is of a subscription to many topics, however many they are now.
    pub is_many: bool,
    /// Index into `topics` of the one whose turn it is; less than their number, or 0.
    pub turn: u32,
    /// The topics; exactly one unless it is of many.
    pub topics: Vec<TopicPlace>,
    /// What its text begins with, if it is more than a place: a group's own. No token that is read here has one.
    pub stamp: Option<Arc<str>>,
}

/// Holds a place in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicPlace {
    /// Id of the topic; read from a token of many, only its first 8 bytes, the others being 0.
    pub topic: TopicId,
    /// Which partitions.
    pub scope: Scope,
    /// Index into `positions` of the partition whose turn it is; less than their number, or 0.
    pub turn: u32,
    /// Next offset by partition, from 0; of those of the scope if it is not all.
    pub positions: Vec<Offset>,
}

impl TopicPlace {
    /// Names the partition that `positions[index]` belongs to.
    pub fn partition(&self, index: usize) -> PartitionId {
        match &self.scope {
            Scope::All => PartitionId(index as u32),
            Scope::One(partition) => *partition,
            Scope::Some(partitions) => partitions[index],
        }
    }

    /// Finds the index of a partition's position; `None` if the place does not cover the partition.
    pub fn index(&self, partition: PartitionId) -> Option<usize> {
        match &self.scope {
            Scope::All => Some(partition.0 as usize).filter(|&index| index < self.positions.len()),
            Scope::One(only) => (*only == partition).then_some(0),
            Scope::Some(partitions) => partitions.binary_search(&partition).ok(),
        }
    }

    /// Gives as much of the topic's id as every token has.
    pub fn short_id(&self) -> &[u8] {
        &self.topic[..ID_BYTES]
    }

    /// Tells whether the place is in this topic.
    pub fn is_of(&self, topic: &TopicId) -> bool {
        self.topic == *topic || self.topic == shortened(topic)
    }
}

impl Token {
    /// Makes the place of a reader of one topic.
    pub fn of_one(log_epoch: u64, place: TopicPlace) -> Self {
        Self { log_epoch, is_many: false, turn: 0, topics: vec![place], stamp: None }
    }

    /// Counts the partitions read.
    pub fn partitions(&self) -> usize {
        self.topics.iter().map(|place| place.positions.len()).sum()
    }

    /// Writes the token as text, URL-safe.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(24 + 24 * self.topics.len() + 4 * self.partitions());
        match self.topics.as_slice() {
            [place] if !self.is_many => write_one(&mut bytes, self.log_epoch, place),
            places => {
                varint::write(&mut bytes, self.log_epoch as i64);
                varint::write(&mut bytes, i64::from(self.turn));
                places.iter().for_each(|place| write_of_many(&mut bytes, place));
            }
        }
        let version = if self.is_many { MANY } else { ONE };
        let stamp = self.stamp.as_deref().unwrap_or_default();
        let mut text = String::with_capacity(stamp.len() + version.len() + bytes.len().div_ceil(3) * 4);
        text.push_str(stamp);
        text.push_str(version);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
        text
    }

    /// Reads a token; `None` if it is not one that [`Token::encode`] writes.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = |text| URL_SAFE_NO_PAD.decode(text).ok();
        match text.split_at_checked(ONE.len())? {
            (ONE, text) => read_one(&bytes(text)?),
            (MANY, text) => read_many(&bytes(text)?),
            _ => None,
        }
    }
}

fn write_one(bytes: &mut Vec<u8>, log_epoch: u64, place: &TopicPlace) {
    bytes.extend_from_slice(&place.topic);
    varint::write(bytes, log_epoch as i64);
    varint::write(bytes, scope_number(&place.scope));
    varint::write(bytes, i64::from(place.turn));
    for position in &place.positions {
        varint::write(bytes, position.0 as i64);
    }
}

fn write_of_many(bytes: &mut Vec<u8>, place: &TopicPlace) {
    bytes.extend_from_slice(&place.topic[..ID_BYTES]);
    varint::write(bytes, scope_number(&place.scope));
    varint::write(bytes, i64::from(place.turn));
    varint::write(bytes, place.positions.len() as i64);
    for (index, position) in place.positions.iter().enumerate() {
        if let Scope::Some(partitions) = &place.scope {
            varint::write(bytes, i64::from(partitions[index].0));
        }
        varint::write(bytes, position.0 as i64);
    }
}

fn scope_number(scope: &Scope) -> i64 {
    match scope {
        Scope::All => 0,
        Scope::One(partition) => i64::from(partition.0) + 1,
        Scope::Some(_) => -1,
    }
}

fn read_one(bytes: &[u8]) -> Option<Token> {
    let (topic, mut rest) = bytes.split_first_chunk::<16>()?;
    let log_epoch = read_number(&mut rest)?;
    let scope = match u32::try_from(read_number(&mut rest)?).ok()? {
        0 => Scope::All,
        next => Scope::One(PartitionId(next - 1)),
    };
    let turn = u32::try_from(read_number(&mut rest)?).ok()?;
    let mut positions = Vec::new();
    while !rest.is_empty() {
        positions.push(Offset(read_number(&mut rest)?));
    }
    Some(Token::of_one(log_epoch, checked(TopicPlace { topic: *topic, scope, turn, positions })?))
}

fn read_many(mut rest: &[u8]) -> Option<Token> {
    let log_epoch = read_number(&mut rest)?;
    let turn = u32::try_from(read_number(&mut rest)?).ok()?;
    let mut topics = Vec::new();
    while !rest.is_empty() {
        topics.push(read_of_many(&mut rest)?);
    }
    let token = Token { log_epoch, is_many: true, turn: turn % topics.len().max(1) as u32, topics, stamp: None };
    (token.topics.len() <= TOPICS_MAX && token.partitions() <= SHARDS_MAX).then_some(token)
}

fn read_of_many(rest: &mut &[u8]) -> Option<TopicPlace> {
    let (id, after) = rest.split_first_chunk::<ID_BYTES>()?;
    *rest = after;
    let mut topic = [0; 16];
    topic[..ID_BYTES].copy_from_slice(id);
    let scope = varint::read(rest)?;
    let turn = u32::try_from(read_number(rest)?).ok()?;
    let count = usize::try_from(read_number(rest)?).ok().filter(|&count| count <= PARTITIONS_MAX as usize)?;
    let (mut partitions, mut positions) = (Vec::new(), Vec::with_capacity(count));
    for _ in 0..count {
        if scope == -1 {
            partitions.push(PartitionId(u32::try_from(read_number(rest)?).ok()?));
        }
        positions.push(Offset(read_number(rest)?));
    }
    let scope = match scope {
        -1 => Scope::Some(partitions),
        0 => Scope::All,
        next => Scope::One(PartitionId(u32::try_from(next).ok()? - 1)),
    };
    checked(TopicPlace { topic, scope, turn, positions })
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    varint::read(rest).and_then(|value| u64::try_from(value).ok())
}

/// Gives the place if it may be one.
fn checked(mut place: TopicPlace) -> Option<TopicPlace> {
    let count = place.positions.len();
    let fits = match &place.scope {
        Scope::All => true,
        Scope::One(_) => count == 1,
        Scope::Some(partitions) => partitions.is_sorted_by(|one, next| one < next),
    };
    place.turn %= count.max(1) as u32;
    (fits && count > 0 && count <= PARTITIONS_MAX as usize).then_some(place)
}

/// Gives an id as it stands in a token of many.
fn shortened(id: &TopicId) -> TopicId {
    let mut short = [0; 16];
    short[..ID_BYTES].copy_from_slice(&id[..ID_BYTES]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(scope: Scope, turn: u32, positions: &[u64]) -> TopicPlace {
        TopicPlace { topic: [0xfe; 16], scope, turn, positions: positions.iter().copied().map(Offset).collect() }
    }

    fn token(scope: Scope, turn: u32, positions: &[u64]) -> Token {
        Token::of_one(3, place(scope, turn, positions))
    }

    fn many(topics: Vec<TopicPlace>) -> Token {
        Token { log_epoch: 3, is_many: true, turn: 0, topics, stamp: None }
    }

    #[test]
    fn tokens_round_trip_and_are_url_safe() {
        let positions: Vec<u64> = (0..1000).map(|n| n << 40).collect();
        let all = [
            token(Scope::All, 0, &[0]),
            token(Scope::All, 3, &[1, 200, 30_000, 1 << 60]),
            token(Scope::One(PartitionId(999)), 0, &[7]),
            token(Scope::All, 999, &positions),
        ];
        for token in all {
            let text = token.encode();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
            assert_eq!(Token::decode(&text), Some(token));
        }
    }

    #[test]
    fn tokens_of_one_topic_never_change() {
        // Written by the first release that had tokens.
        assert_eq!(token(Scope::All, 1, &[5, 300]).encode(), "t1_v7-_v7-_v7-_v7-_v7-_gYAAgrYBA");
    }

    #[test]
    fn tokens_of_many_topics_round_trip_with_the_first_bytes_of_ids() {
        let some = Scope::Some(vec![PartitionId(1), PartitionId(4)]);
        let topics =
            vec![place(Scope::All, 1, &[1, 2]), place(some, 0, &[5, 6]), place(Scope::One(PartitionId(3)), 0, &[9])];
        for token in [many(topics), many(Vec::new())] {
            let read = Token::decode(&token.encode()).unwrap();
            assert_eq!(read.encode(), token.encode());
            assert!(read.topics.iter().all(|place| place.is_of(&[0xfe; 16]) && !place.is_of(&[0xfd; 16])));
        }
    }

    #[test]
    fn the_largest_token_fits_into_a_url() {
        let topics = (0..TOPICS_MAX).map(|_| place(Scope::All, 3, &[1 << 40; SHARDS_MAX / TOPICS_MAX])).collect();
        let text = many(topics).encode();
        assert!(text.len() < 60_000, "{}", text.len());
        assert!(Token::decode(&text).is_some());
    }

    #[test]
    fn whatever_else_is_not_a_token() {
        let good = token(Scope::One(PartitionId(2)), 0, &[7]).encode();
        let two = token(Scope::One(PartitionId(2)), 0, &[7, 8]).encode();
        let none = token(Scope::All, 0, &[]).encode();
        let cut = &good[..good.len() - 3];
        let descending = many(vec![place(Scope::Some(vec![PartitionId(4), PartitionId(1)]), 0, &[5, 6])]).encode();
        let too_many = many(vec![place(Scope::All, 0, &[1; 1000]); 5]).encode();
        let bad = ["", "t1", "t1!", "t2", "latest", "2026-01-01T00:00:00Z", "t2AAAA", "t3AAAA", "-5", "tä1"];
        for bad in bad.into_iter().chain([cut, &two, &none, &descending, &too_many]) {
            assert_eq!(Token::decode(bad), None, "{bad}");
        }
    }
}
