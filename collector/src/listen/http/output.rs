//! `POST /v1/topics/{t}/records` with `Commit-Group` and `Commit-Token`: what a group's member made of what it read is stored together with
//! the place up to which it read, so that a pipeline has each record's output exactly once.

use axum::Json;
use axum::http::HeaderMap;
use bytes::Bytes;
use skidway_record::TopicName;
use skidway_wire::http::Produced;

use crate::clock::now_ms;
use crate::groups::GroupName;
use crate::ingest::produce::{Conditions, Measure, commit, runs};
use crate::keys::Expected;
use crate::listen::http::answers::Failure;
use crate::listen::http::door::Door;
use crate::listen::http::groups::places;
use crate::listen::http::produce::{prepare, shown, text};
use crate::listen::http::produce_body::Format;

const GROUP: &str = "Commit-Group";
const TOKEN: &str = "Commit-Token";

/// Says what a request's records were made of.
pub(super) struct Consumed {
    group: GroupName,
    token: String,
}

/// Reads the headers; `None` if there are none.
pub(super) fn consumed(headers: &HeaderMap) -> Result<Option<Consumed>, Failure> {
    match (text(headers, GROUP)?, text(headers, TOKEN)?) {
        (None, None) => Ok(None),
        (Some(group), Some(token)) => Ok(Some(Consumed { group: GroupName::new(group)?, token: token.to_owned() })),
        _ => Err(Failure::header(GROUP, format_args!("{GROUP} and {TOKEN} come together"))),
    }
}

impl Consumed {
    /// Gives the group that consumed them.
    pub(super) fn group(&self) -> &str {
        self.group.as_str()
    }

    /// Refuses what else would decide whether the records are stored.
    pub(super) fn check(&self, conditions: &Conditions, expected: Option<&Expected>) -> Result<(), Failure> {
        if conditions.producer.is_some() {
            return Err(Failure::header(GROUP, "not together with Producer-Id: the token itself is stored once"));
        }
        match expected {
            Some(_) => Err(Failure::header(GROUP, "not together with Expected-Key-Offset")),
            None => Ok(()),
        }
    }
}

/// Stores the records and commits the token, both or neither.
pub(super) async fn store(
    door: &Door,
    name: &TopicName,
    consumed: Consumed,
    body: (Format, &Bytes),
    (partition, conditions): (Option<u32>, Conditions),
) -> Result<Json<Produced>, Failure> {
    let now_ms = now_ms();
    let (stamp, places) = places(&consumed.token)?;
    let (topic, encoded) = prepare(door, name, body, (partition, now_ms), None).await?;
    let _turn = door.keys.take_turn(&topic, encoded.0.iter().map(|(partition, _)| *partition)).await;
    let output = commit(name, encoded, conditions, now_ms);
    let (measure, batches) = (Measure::of(&output), output.batches.len());
    let committed = door.groups.commit_output(consumed.group, stamp, places, output).await?;
    measure.stored();
    Ok(Json(shown(&runs(&committed.appended[..batches]))))
}
