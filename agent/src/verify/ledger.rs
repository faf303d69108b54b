//! What was told of lines that are not in their topic: dead letters, and losses on record.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::alignment::FileLine;
use super::pieces::split;
use super::text::{Hasher, Text};
use super::topic::{extents, header, read};
use crate::error::VerifyError;
use crate::flow::DEAD_VALUE_BYTES_MAX;
use crate::ship::http::Doors;

const EVENTS_TOPIC: &str = "__skidway.events";
/// Losses and dead letters taken note of, the newest; each.
const NOTES_MAX: usize = 100_000;

/// Holds a loss on record (an event of kind `lost`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The file's path then.
    pub path: String,
    /// The source's id.
    pub source: String,
    /// First byte lost.
    pub start: u64,
    /// End of the bytes lost.
    pub end: u64,
    /// False if more may be lost.
    pub exact: bool,
    /// In words.
    pub reason: String,
    /// When it was recorded; RFC 3339.
    pub at: String,
}

/// Holds a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) path: Vec<u8>,
    /// Where the rejected record began in its file.
    position: u64,
    /// Its lines.
    texts: Vec<Text>,
    is_cut: bool,
}

/// Knows what became of lines that are not in their topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Excuses {
    pub(super) letters: Vec<Letter>,
    pub(super) lost: Vec<Range<u64>>,
}

/// Says why a line may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excuse {
    Dead,
    Lost,
}

impl Excuses {
    /// Gives the reason why a line is not in its topic, if one was told.
    pub(super) fn of(&self, line: &FileLine) -> Option<Excuse> {
        let is_dead = |letter: &Letter| {
            let is_whole = letter.position <= line.span.start && letter.texts.contains(&line.text);
            is_whole || (letter.is_cut && line.span.contains(&letter.position))
        };
        let is_lost = |range: &Range<u64>| range.start <= line.span.start && line.span.end <= range.end;
        if self.letters.iter().any(is_dead) {
            return Some(Excuse::Dead);
        }
        self.lost.iter().any(is_lost).then_some(Excuse::Lost)
    }
}

/// Reads the losses of an agent.
pub(super) async fn losses(doors: &Doors, agent: &str) -> Result<Vec<Loss>, VerifyError> {
    let mut losses = Vec::new();
    for (partition, extent) in extents(doors, EVENTS_TOPIC).await?.into_iter().enumerate() {
        let range = extent.high_watermark.saturating_sub(NOTES_MAX as u64).max(extent.log_start)..extent.high_watermark;
        read(doors, (EVENTS_TOPIC, partition as u32), range, |_, record| {
            let event = record.value.and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
            let is_ours = |event: &serde_json::Value| event["kind"] == "lost" && event["agent"] == agent;
            losses.extend(event.filter(is_ours).and_then(|event| serde_json::from_value(event).ok()));
        })
        .await?;
    }
    Ok(losses)
}

/// Reads the dead letters of a topic that this machine wrote.
pub(super) async fn letters(
    doors: &Doors,
    topic: &str,
    host: &str,
    hasher: &Hasher,
) -> Result<Vec<Letter>, VerifyError> {
    let topic = format!("{topic}.dead");
    let mut letters = Vec::new();
    for (partition, extent) in extents(doors, &topic).await?.into_iter().enumerate() {
        let range = extent.high_watermark.saturating_sub(NOTES_MAX as u64).max(extent.log_start)..extent.high_watermark;
        read(doors, (&topic, partition as u32), range, |_, record| {
            let position =
                header(record, b"skidway-position").and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
            let is_ours = header(record, b"host").is_none_or(|it| it == host.as_bytes());
            let path = header(record, b"skidway-path");
            if let (Some(value), Some(path), Some(position), true) = (record.value, path, position, is_ours) {
                let mut texts = Vec::new();
                split(value, (false, false), false, |line, _, _| texts.push(hasher.of(line)));
                letters.push(Letter {
                    path: path.to_owned(),
                    position,
                    texts,
                    is_cut: value.len() == DEAD_VALUE_BYTES_MAX,
                });
            }
        })
        .await?;
    }
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_excused_by_its_letter_or_by_a_loss_of_all_of_it() {
        let hasher = Hasher::new(5);
        let text = |text: &str| hasher.of(text.as_bytes());
        let letter = |position, lines: &[&str], is_cut| Letter {
            path: b"/a".to_vec(),
            position,
            texts: lines.iter().map(|line| text(line)).collect(),
            is_cut,
        };
        let excuses = Excuses {
            letters: vec![letter(10, &["bad", "and more"], false), letter(90, &["cu"], true)],
            lost: std::iter::once(200..300).collect(),
        };
        let cases = [
            (10..14, "bad", Some(Excuse::Dead)),
            (14..23, "and more", Some(Excuse::Dead)),
            (10..14, "good", None),
            (0..4, "bad", None),
            (80..99, "cut somewhere", Some(Excuse::Dead)),
            (210..220, "x", Some(Excuse::Lost)),
            (290..310, "x", None),
        ];
        for (span, line, expected) in cases {
            assert_eq!(excuses.of(&FileLine { span: span.clone(), text: text(line) }), expected, "{span:?} {line}");
        }
    }
}
