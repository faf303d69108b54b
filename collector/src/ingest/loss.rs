//! What is said in the log about bytes that nobody can read any more (DESIGN §4).

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use skidway_record::{AgentId, Batch, BatchBuilder, EncodedHeaders, TopicName, TopicPartition};

use crate::ingest::encoder::Compressors;
use crate::log::{Advance, EVENTS_TOPIC};

/// Describes one loss.
#[derive(Debug)]
pub struct Loss<'a> {
    /// Whose file it was.
    pub agent: &'a AgentId,
    /// The file's path.
    pub path: &'a Bytes,
    /// The span that is gone.
    pub advance: &'a Advance,
    /// Why, as the agent says.
    pub reason: &'a str,
    /// False if the span is only a bound.
    pub exact: bool,
    /// Now, in ms since 1970.
    pub at_ms: i64,
}

impl Loss<'_> {
    /// Tells the operator.
    pub fn log(&self) {
        let (agent, path) = (self.agent, String::from_utf8_lossy(self.path));
        tracing::warn!(%agent, %path, span = ?self.advance.span, exact = self.exact, "bytes are lost: {}", self.reason);
    }

    /// Encodes the event as a batch of one record.
    pub fn batch(&self, compressors: &Compressors) -> Batch {
        let span = &self.advance.span;
        let at = Timestamp::from_millisecond(self.at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let event = json!({
            "kind": "lost",
            "agent": self.agent.as_str(),
            "path": String::from_utf8_lossy(self.path),
            "source": self.advance.source.to_string(),
            "start": span.start,
            "end": span.end,
            "bytes": span.end - span.start,
            "exact": self.exact,
            "reason": self.reason,
            "at": at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        });
        let mut builder = BatchBuilder::new();
        builder.push(self.at_ms, None, Some(event.to_string().as_bytes()), &EncodedHeaders::none());
        compressors.with(|compressor| builder.finish(compressor)).expect("there is one record in it")
    }
}

/// Names the one partition of the events' topic.
pub fn events() -> TopicPartition {
    TopicPartition::new(TopicName::new(EVENTS_TOPIC).expect("our own topic's name is valid"), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_record::SourceId;

    #[test]
    fn a_loss_says_what_is_gone_and_how_sure_that_is() {
        let advance = Advance {
            source: SourceId([1; 16]),
            span: 10..25,
            carry: Bytes::new(),
            head: Default::default(),
            anchor: Default::default(),
            path: None,
        };
        let (agent, path) = (AgentId::new("web-1").unwrap(), Bytes::from_static(b"/var/log/a.log"));
        let loss = Loss { agent: &agent, path: &path, advance: &advance, reason: "gone", exact: false, at_ms: 1_007 };
        let batch = loss.batch(&Compressors::default()).decode().unwrap();
        let record = batch.records().next().unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_slice(record.value.unwrap()).unwrap();
        let expected = json!({
            "kind": "lost", "agent": "web-1", "path": "/var/log/a.log", "source": "01".repeat(16), "start": 10,
            "end": 25, "bytes": 15, "exact": false, "reason": "gone", "at": "1970-01-01T00:00:01.007Z",
        });
        assert_eq!(event, expected);
    }
}
