//! The agents' protocol: open a session, commit items, learn what became of each (DESIGN §3).
//!
//! ```text
//! POST /v1/agents/{id}/session   OpenSession    → SessionOpened     a newer session fences the older
//! GET  /v1/agents/{id}/sources                  → SourcePage        ?after=<source id>&limit=<n>
//! POST /v1/commits               CommitRequest  → CommitAnswer      one result an item, in the items' order
//! ```
//!
//! Bodies are frames ([`crate::codec`]) of type [`MEDIA_TYPE`]. Each item stands alone: accepted, it is one commit. A refusal of the
//! whole request is a problem document (409 `fenced` or `log-changed`, 426 `unsupported-version`, …), a refusal of an item an [`ItemResult`].

use bytes::Bytes;
use skidway_record::{AgentId, LogId};

use crate::codec::{Reader, Writer};
use crate::error::WireError;
use crate::item::{Item, ItemResult, read_item, read_result, write_item, write_result};

/// Names the frames in `Content-Type`.
pub const MEDIA_TYPE: &str = "application/vnd.skidway.frame";

/// Bounds the items of one commit. Agents send a thousand at most; what one takes in memory is many times what it may take in a frame.
pub const ITEMS_MAX: usize = 10_000;

/// Bounds the inputs of one agent.
const INPUTS_MAX: usize = 1_000_000;

const KIND_OPEN_SESSION: u8 = 1;
const KIND_SESSION_OPENED: u8 = 2;
const KIND_COMMIT_REQUEST: u8 = 3;
const KIND_COMMIT_ANSWER: u8 = 4;

/// Asks for a new session, which fences the agent's older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Tells machines apart that were given the same agent id.
    pub machine_id: String,
    /// Host name, shown in the fleet list.
    pub host: String,
    /// The agent's build.
    pub version: String,
    /// The agent's newest session, 0 for none: the opening is refused (409 `session-superseded`, with `current_epoch`) if it is not that, so
    /// that a late copy of an opening does nothing. Agents of version 1 cannot say it: `None` follows whichever is the newest.
    pub follows: Option<u64>,
}

/// Answers [`OpenSession`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOpened {
    /// Epoch of the new session; commits carry it.
    pub epoch: u64,
    /// The log this collector serves.
    pub log_id: LogId,
    /// Its epoch.
    pub log_epoch: u64,
    /// Names of inputs that carry the `opened` mark: `start_at` no longer applies to them.
    pub opened_inputs: Vec<String>,
}

/// Carries items of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// Who commits.
    pub agent: AgentId,
    /// Session epoch.
    pub epoch: u64,
    /// The log the agent means.
    pub log_id: LogId,
    /// Its epoch.
    pub log_epoch: u64,
    /// Bytes on disk the agent has not got acknowledged, this request included.
    pub bytes_behind: u64,
    /// Age of the oldest unacknowledged byte, in milliseconds.
    pub oldest_unacknowledged_ms: u64,
    /// Checked and committed in order.
    pub items: Vec<Item>,
}

/// Answers [`CommitRequest`]: one result an item, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitAnswer {
    /// The results.
    pub results: Vec<ItemResult>,
}

impl OpenSession {
    /// Encodes the frame.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new(KIND_OPEN_SESSION);
        out.text(&self.machine_id);
        out.text(&self.host);
        out.text(&self.version);
        out.u64(self.follows.unwrap_or_default());
        out.finish()
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`] (reject).
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let mut input = Reader::new(frame, KIND_OPEN_SESSION)?;
        let (machine_id, host) = (input.text("machine id")?, input.text("host")?);
        let version = input.text("version")?;
        let follows = if input.version() < 2 { None } else { Some(input.u64("follows")?) };
        input.finish()?;
        Ok(Self { machine_id, host, version, follows })
    }
}

impl SessionOpened {
    /// Encodes the frame.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new(KIND_SESSION_OPENED);
        out.u64(self.epoch);
        out.array(&self.log_id.0);
        out.u64(self.log_epoch);
        out.list(&self.opened_inputs, |out, input| out.text(input));
        out.finish()
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`] (reject).
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let mut input = Reader::new(frame, KIND_SESSION_OPENED)?;
        let opened = Self {
            epoch: input.u64("epoch")?,
            log_id: LogId(input.array("log id")?),
            log_epoch: input.u64("log epoch")?,
            opened_inputs: input.list("opened inputs", INPUTS_MAX, |input| input.text("input"))?,
        };
        input.finish()?;
        Ok(opened)
    }
}

impl CommitRequest {
    /// Encodes the frame.
    pub fn encode(&self) -> Bytes {
        let bytes: usize = self.items.iter().map(Item::bytes_about).sum();
        let mut out = Writer::with_capacity(KIND_COMMIT_REQUEST, 256 + bytes);
        out.text(self.agent.as_str());
        out.u64(self.epoch);
        out.array(&self.log_id.0);
        out.u64(self.log_epoch);
        out.u64(self.bytes_behind);
        out.u64(self.oldest_unacknowledged_ms);
        out.list(&self.items, write_item);
        out.finish()
    }

    /// Reads the frame; batches share its memory and are not looked into.
    ///
    /// # Errors
    /// [`WireError`] (reject).
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let mut input = Reader::new(frame, KIND_COMMIT_REQUEST)?;
        let request = Self {
            agent: input.parsed("agent")?,
            epoch: input.u64("epoch")?,
            log_id: LogId(input.array("log id")?),
            log_epoch: input.u64("log epoch")?,
            bytes_behind: input.u64("bytes behind")?,
            oldest_unacknowledged_ms: input.u64("oldest unacknowledged")?,
            items: input.list("items", ITEMS_MAX, read_item)?,
        };
        input.finish()?;
        Ok(request)
    }
}

impl CommitAnswer {
    /// Encodes the frame.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new(KIND_COMMIT_ANSWER);
        out.list(&self.results, write_result);
        out.finish()
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`] (reject).
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let mut input = Reader::new(frame, KIND_COMMIT_ANSWER)?;
        let results = input.list("results", ITEMS_MAX, read_result)?;
        input.finish()?;
        Ok(Self { results })
    }
}
