//! How sources travel: one by one when they are created, in pages when an agent starts.

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::source::{
    CARRY_BYTES_MAX, FINGERPRINT_BYTES_MAX, Fingerprint, NewSource, PATH_BYTES_MAX, Partitioning, PhysicalId,
    StoredSource,
};

use crate::codec::{Reader, Writer};
use crate::error::WireError;

/// Answers `GET /v1/agents/{id}/sources`: sources in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePage {
    /// At most as many as were asked for.
    pub sources: Vec<StoredSource>,
    /// Ask again with `?after=` this id; `None` on the last page.
    pub next: Option<SourceId>,
}

/// Bounds the sources of one page; collectors send a thousand at most.
const SOURCES_MAX: usize = 100_000;

const KIND_SOURCE_PAGE: u8 = 5;

impl SourcePage {
    /// Encodes the page as one frame.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new(KIND_SOURCE_PAGE);
        out.list(&self.sources, write_stored);
        out.option(self.next.as_ref(), |out, id| out.array(&id.0));
        out.finish()
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`WireError`] (reject).
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let mut input = Reader::new(frame, KIND_SOURCE_PAGE)?;
        let sources = input.list("sources", SOURCES_MAX, read_stored)?;
        let next = input.option("next", |input| input.array("next").map(SourceId))?;
        input.finish()?;
        Ok(Self { sources, next })
    }
}

fn write_stored(out: &mut Writer, stored: &StoredSource) {
    write_new(out, &stored.source);
    out.text(stored.agent.as_str());
    out.option(stored.partition, Writer::u32);
    out.u64(stored.position);
    out.bytes(&stored.carry);
    write_fingerprint(out, &stored.anchor);
    out.option(stored.gone_at_ms, |out, ms| out.u64(ms as u64));
}

fn read_stored(input: &mut Reader) -> Result<StoredSource, WireError> {
    Ok(StoredSource {
        source: read_new(input)?,
        agent: input.parsed("agent")?,
        partition: input.option("partition", |input| input.u32("partition"))?,
        position: input.u64("position")?,
        carry: input.bytes("carry", CARRY_BYTES_MAX)?,
        anchor: read_fingerprint(input)?,
        gone_at_ms: input.option("gone_at", |input| input.u64("gone_at"))?.map(|ms| ms as i64),
    })
}

pub(crate) fn write_new(out: &mut Writer, source: &NewSource) {
    out.array(&source.id.0);
    out.text(&source.input);
    out.text(source.topic.as_str());
    match &source.partitioning {
        Partitioning::File => out.u8(0),
        Partitioning::RoundRobin => out.u8(1),
        Partitioning::Key(key) => {
            out.u8(2);
            out.bytes(key);
        }
    }
    write_physical(out, &source.physical);
    out.option(source.supersedes.as_ref(), |out, id| out.array(&id.0));
    write_fingerprint(out, &source.head);
    out.bytes(&source.path);
}

pub(crate) fn read_new(input: &mut Reader) -> Result<NewSource, WireError> {
    Ok(NewSource {
        id: SourceId(input.array("source id")?),
        input: input.text("input")?,
        topic: input.parsed("topic")?,
        partitioning: match input.u8("partitioning")? {
            0 => Partitioning::File,
            1 => Partitioning::RoundRobin,
            2 => Partitioning::Key(input.bytes("key", 4096)?),
            other => return Err(WireError::field("partitioning", other)),
        },
        physical: read_physical(input)?,
        supersedes: input.option("supersedes", |input| input.array("supersedes").map(SourceId))?,
        head: read_fingerprint(input)?,
        path: input.bytes("path", PATH_BYTES_MAX)?,
    })
}

pub(crate) fn write_physical(out: &mut Writer, id: &PhysicalId) {
    out.u64(id.device);
    out.u64(id.inode);
    out.u64(id.generation);
    out.u64(id.birth_ns);
}

pub(crate) fn read_physical(input: &mut Reader) -> Result<PhysicalId, WireError> {
    Ok(PhysicalId {
        device: input.u64("device")?,
        inode: input.u64("inode")?,
        generation: input.u64("generation")?,
        birth_ns: input.u64("birth time")?,
    })
}

pub(crate) fn write_fingerprint(out: &mut Writer, print: &Fingerprint) {
    out.u32(print.len);
    out.array(&print.hash);
}

pub(crate) fn read_fingerprint(input: &mut Reader) -> Result<Fingerprint, WireError> {
    let print = Fingerprint { len: input.u32("fingerprint")?, hash: input.array("fingerprint")? };
    if print.len > FINGERPRINT_BYTES_MAX {
        return Err(WireError::field("fingerprint", format_args!("covers {} bytes, at most 4096", print.len)));
    }
    Ok(print)
}
