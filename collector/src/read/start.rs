//! Where a reader starts: turns what was asked for into a place.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};
use skidway_record::{Offset, PartitionId, TopicName, TopicPartition};

use crate::log::{LogOffsets, LogReader, Topic};
use crate::read::token::ID_BYTES;
use crate::read::turn::Departed;
use crate::read::{ReadError, Scope, Token, TopicPlace};

/// Partitions whose place is looked for at a time: by time, that is a read of the disk each.
const LOOKED_FOR_AT_ONCE: usize = 16;

/// Says where to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record kept.
    Earliest,
    /// After the last record there is.
    Latest,
    /// So many records before the last, in each partition.
    Last(u64),
    /// At the first record of this age or newer, in ms since 1970.
    Timestamp(i64),
    /// At this offset; the scope is one partition.
    Offset(Offset),
    /// Where an earlier reader stood.
    Token(String),
}

/// Finds the place of a reader of one topic.
pub(super) async fn place_of_one(
    log: &dyn LogReader,
    topic: &Topic,
    scope: &Scope,
    start: &StartAt,
) -> Result<Token, ReadError> {
    let beginning = Token::of_one(log.identity().epoch, start_of(log, topic, scope)?);
    match start {
        StartAt::Token(text) => resume_one(log, topic, scope, text, beginning),
        start => place(log, std::slice::from_ref(topic), start, beginning).await,
    }
}

/// Finds the place of a reader of many topics, and tells which of the token's are gone.
pub(super) async fn place_of_many(
    log: &dyn LogReader,
    topics: &[Topic],
    start: &StartAt,
) -> Result<(Token, Vec<Departed>), ReadError> {
    let places: Vec<TopicPlace> =
        topics.iter().map(|topic| start_of(log, topic, &Scope::All)).collect::<Result<_, _>>()?;
    let beginning = Token { log_epoch: log.identity().epoch, is_many: true, turn: 0, topics: places, stamp: None };
    match start {
        StartAt::Token(text) => resume_many(log, topics, text, beginning),
        start => Ok((place(log, topics, start, beginning).await?, Vec::new())),
    }
}

/// Moves every position from the beginning to where to start.
async fn place(log: &dyn LogReader, topics: &[Topic], start: &StartAt, beginning: Token) -> Result<Token, ReadError> {
    let mut token = beginning.clone();
    if *start == StartAt::Earliest {
        return Ok(token);
    }
    let found: Vec<_> = shards(topics, &beginning).into_iter().map(|of| position(log, of, start, &beginning)).collect();
    let positions: Vec<Offset> = futures::stream::iter(found).buffered(LOOKED_FOR_AT_ONCE).try_collect().await?;
    let places = token.topics.iter_mut().flat_map(|place| &mut place.positions);
    places.zip(positions).for_each(|(place, position)| *place = position);
    Ok(token)
}

/// Names the partitions of a place's topics, in the order of their positions.
fn shards(topics: &[Topic], place: &Token) -> Vec<TopicPartition> {
    let mut shards = Vec::with_capacity(place.partitions());
    for (topic, place) in topics.iter().zip(&place.topics) {
        let of = |index| TopicPartition { topic: topic.name.clone(), partition: place.partition(index) };
        shards.extend((0..place.positions.len()).map(of));
    }
    shards
}

/// Finds one partition's position; `earliest` is the place to tell about if it is not kept any more.
async fn position(
    log: &dyn LogReader,
    of: TopicPartition,
    start: &StartAt,
    earliest: &Token,
) -> Result<Offset, ReadError> {
    let LogOffsets { log_start, high_watermark, .. } = log.offsets(&of)?;
    Ok(match start {
        StartAt::Earliest | StartAt::Token(_) => log_start,
        StartAt::Latest => high_watermark,
        StartAt::Last(count) => Offset(high_watermark.0.saturating_sub(*count)).max(log_start),
        StartAt::Timestamp(ms) => log.offset_at(of, *ms).await?.unwrap_or(high_watermark),
        StartAt::Offset(at) if *at > high_watermark => {
            return Err(ReadError::PastEnd { partition: of, at: *at, high_watermark });
        }
        StartAt::Offset(at) if *at < log_start => return Err(gone_below(&of, *at, log_start, earliest)),
        StartAt::Offset(at) => *at,
    })
}

/// Goes on where a token stands. Partitions newer than the token start at their beginning.
fn resume_one(
    log: &dyn LogReader,
    topic: &Topic,
    scope: &Scope,
    text: &str,
    beginning: Token,
) -> Result<Token, ReadError> {
    let token = decode(text)?;
    if token.is_many {
        return Err(ReadError::BadToken("the token is of a subscription to many topics, and this is of one".into()));
    }
    let gone = |reason: String| ReadError::Gone { reason, earliest: Some(beginning.encode()) };
    let [known] = token.topics.as_slice() else { return Err(ReadError::BadToken("the token is of no topic".into())) };
    if known.topic != topic.id {
        return Err(gone(format!("the token is of another topic than the {} there is now", topic.name)));
    }
    if token.log_epoch != beginning.log_epoch {
        return Err(gone("the log was restored since the token was made".into()));
    }
    if known.scope != Scope::All && known.scope != *scope {
        return Err(ReadError::BadToken("the token is of a subscription to one partition, and not to this one".into()));
    }
    go_on(log, std::slice::from_ref(topic), &token, beginning)
}

/// Goes on where a token of many stands. Topics that it does not know start at their beginning; those that are gone are told.
fn resume_many(
    log: &dyn LogReader,
    topics: &[Topic],
    text: &str,
    beginning: Token,
) -> Result<(Token, Vec<Departed>), ReadError> {
    let token = decode(text)?;
    if !token.is_many {
        return Err(ReadError::BadToken("the token is of one topic's own URL, and this is of many".into()));
    }
    if token.log_epoch != beginning.log_epoch {
        let reason = "the log was restored since the token was made".into();
        return Err(ReadError::Gone { reason, earliest: Some(beginning.encode()) });
    }
    let all = log.topics();
    let is_gone = |place: &&TopicPlace| !all.iter().any(|topic| place.is_of(&topic.id));
    let departed = token.topics.iter().filter(is_gone).map(|_| Departed::known_to_token()).collect();
    let turn = token.topics.get(token.turn as usize);
    let turn = turn.and_then(|known| topics.iter().position(|topic| known.is_of(&topic.id)));
    let mut place = go_on(log, topics, &token, beginning)?;
    place.turn = turn.unwrap_or(0) as u32;
    Ok((place, departed))
}

/// Takes over a token's positions, each checked against what the log has now.
fn go_on(log: &dyn LogReader, topics: &[Topic], token: &Token, mut place: Token) -> Result<Token, ReadError> {
    let beginning = place.clone();
    let by_id: HashMap<&[u8], &TopicPlace> = token.topics.iter().map(|known| (known.short_id(), known)).collect();
    let mut deleted = None;
    for (topic, place) in topics.iter().zip(&mut place.topics) {
        let Some(known) = by_id.get(&topic.id[..ID_BYTES]).filter(|known| known.is_of(&topic.id)) else { continue };
        place.turn = known.turn % place.positions.len() as u32;
        for index in 0..place.positions.len() {
            let partition = place.partition(index);
            let Some(at) = known.index(partition).map(|index| known.positions[index]) else { continue };
            let of = TopicPartition { topic: topic.name.clone(), partition };
            let (high_watermark, log_start) = (log.offsets(&of)?.high_watermark, place.positions[index]);
            if at > high_watermark {
                let reason = format!("the token stands past the end of {of}: the log is not the one it was made of");
                return Err(ReadError::Gone { reason, earliest: Some(beginning.encode()) });
            }
            if at < log_start {
                deleted = deleted.or(Some((of, at, log_start)));
            }
            place.positions[index] = at.max(log_start);
        }
    }
    match deleted {
        None => Ok(place),
        Some((of, at, log_start)) => Err(gone_below(&of, at, log_start, &place)),
    }
}

fn decode(text: &str) -> Result<Token, ReadError> {
    let why = "it is neither a token, earliest, latest, -N nor an RFC 3339 time";
    Token::decode(text).ok_or_else(|| ReadError::BadToken(why.into()))
}

/// Says that records were deleted before they were read; `kept` is the place with those passed over.
fn gone_below(of: &TopicPartition, at: Offset, log_start: Offset, kept: &Token) -> ReadError {
    let reason = format!("offset {at} of {of} was deleted; the log starts at {log_start}");
    ReadError::Gone { reason, earliest: Some(kept.encode()) }
}

/// Says the same of a reader that retention overtook at one of its partitions; `names` are those of the place's topics.
pub(super) fn overtaken(
    log: &dyn LogReader,
    place: &Token,
    names: &[TopicName],
    (topic, partition): (usize, usize),
) -> ReadError {
    let mut kept = place.clone();
    for (name, place) in names.iter().zip(&mut kept.topics) {
        for index in 0..place.positions.len() {
            let of = TopicPartition { topic: name.clone(), partition: place.partition(index) };
            let Ok(offsets) = log.offsets(&of) else { continue };
            place.positions[index] = place.positions[index].max(offsets.log_start);
        }
    }
    let of = TopicPartition { topic: names[topic].clone(), partition: place.topics[topic].partition(partition) };
    gone_below(&of, place.topics[topic].positions[partition], kept.topics[topic].positions[partition], &kept)
}

/// Gives a token at the first record kept of each partition; `None` if there is no such topic or partition.
pub(super) fn earliest(log: &dyn LogReader, name: &TopicName, scope: &Scope) -> Option<String> {
    let place = start_of(log, &log.topic(name)?, scope).ok()?;
    Some(Token::of_one(log.identity().epoch, place).encode())
}

fn start_of(log: &dyn LogReader, topic: &Topic, scope: &Scope) -> Result<TopicPlace, ReadError> {
    let partitions = topic.config.partitions;
    let read: Vec<PartitionId> = match scope {
        Scope::All => (0..partitions).map(PartitionId).collect(),
        Scope::One(only) => vec![*only],
        Scope::Some(some) => some.clone(),
    };
    if let Some(partition) = read.iter().copied().find(|partition| partition.0 >= partitions) {
        return Err(ReadError::UnknownPartition { topic: topic.name.clone(), partitions, partition });
    }
    let start = |partition| log.offsets(&TopicPartition { topic: topic.name.clone(), partition });
    let positions = read.into_iter().map(|partition| Ok(start(partition)?.log_start));
    let positions = positions.collect::<Result<_, ReadError>>()?;
    Ok(TopicPlace { topic: topic.id, scope: scope.clone(), turn: 0, positions })
}
