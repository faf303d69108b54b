//! One commit as bytes in the journal. Pure: bytes in, frames out.
//!
//! ```text
//!  at  width  field                 integers little-endian
//!   0    4    magic "SKF2"          the 2 is the version of frame and effects
//!   4    4    CRC-32C               of everything from `length` to the end
//!   8    4    length                of effects and batches together
//!  12    4    effects length
//!  16    8    LSN                   1 more than the frame's before
//!  24    8    durable LSN           the last commit known durable when this frame was written
//!  32   16    journal file id       random: no record can forge a frame, and no older file's bytes pass for this one's
//!  48         effects               postcard (effects.rs)
//!             batches               one after the other, in the order of the effects' appends; direct ones are in their segment
//! ```
//!
//! Frames follow each other without gaps; zeros, or whatever a torn write left, follow the last.

use bytes::Bytes;
use serde::Serialize;

use crate::effects::Effects;

/// Bytes before a frame's effects.
pub(crate) const FRAME_HEADER_BYTES: usize = 48;

/// Bounds the batches of one commit, in bytes.
pub(crate) const COMMIT_BYTES_MAX: usize = 64 << 20;

/// Bounds a frame: a commit's batches and its effects.
pub(crate) const FRAME_BYTES_MAX: usize = COMMIT_BYTES_MAX + (64 << 20);

const MAGIC: [u8; 4] = *b"SKF2";
const CRC_COVERS_FROM: usize = 8;

/// Names one journal file; random.
pub(crate) type JournalFileId = [u8; 16];

/// Holds what stands before a frame's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// CRC-32C.
    pub(crate) crc: u32,
    /// Bytes of the whole frame.
    pub(crate) total_bytes: usize,
    /// Bytes of the effects.
    pub(crate) effects_bytes: usize,
    /// The commit's place in the journal.
    pub(crate) lsn: u64,
    /// The last commit known durable when this frame was written.
    pub(crate) durable_lsn: u64,
    /// The file it was written to.
    pub(crate) file_id: JournalFileId,
}

/// Holds one frame read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What stands before the effects.
    pub(crate) header: FrameHeader,
    /// What the commit did.
    pub(crate) effects: Effects,
    /// Its batches, stamped, one after the other, but for those written straight to their segment.
    pub(crate) batches: Bytes,
}

/// Appends a frame to `out`: `write_batches` appends the batches, stamped. Returns where they begin.
pub(crate) fn write(
    out: &mut Vec<u8>,
    (lsn, durable_lsn, file_id): (u64, u64, JournalFileId),
    effects: &Effects,
    write_batches: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let start = out.len();
    out.resize(start + FRAME_HEADER_BYTES, 0);
    serialize_into(out, effects);
    let batches_start = out.len();
    write_batches(out);
    let header = FrameHeader {
        crc: 0,
        total_bytes: out.len() - start,
        effects_bytes: batches_start - start - FRAME_HEADER_BYTES,
        lsn,
        durable_lsn,
        file_id,
    };
    seal(&mut out[start..], header);
    batches_start
}

fn seal(frame: &mut [u8], header: FrameHeader) {
    let length = (header.total_bytes - FRAME_HEADER_BYTES) as u32;
    frame[0..4].copy_from_slice(&MAGIC);
    frame[8..12].copy_from_slice(&length.to_le_bytes());
    frame[12..16].copy_from_slice(&(header.effects_bytes as u32).to_le_bytes());
    frame[16..24].copy_from_slice(&header.lsn.to_le_bytes());
    frame[24..32].copy_from_slice(&header.durable_lsn.to_le_bytes());
    frame[32..48].copy_from_slice(&header.file_id);
    let crc = crc32c::crc32c(&frame[CRC_COVERS_FROM..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

impl FrameHeader {
    /// Reads the header at the front of `bytes`; `None` if it is none of this file's.
    pub(crate) fn parse(bytes: &[u8], file_id: &JournalFileId) -> Option<Self> {
        let raw = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        let header = Self {
            crc: u32::from_le_bytes(field(raw, 4)),
            total_bytes: FRAME_HEADER_BYTES + u32::from_le_bytes(field(raw, 8)) as usize,
            effects_bytes: u32::from_le_bytes(field(raw, 12)) as usize,
            lsn: u64::from_le_bytes(field(raw, 16)),
            durable_lsn: u64::from_le_bytes(field(raw, 24)),
            file_id: field(raw, 32),
        };
        let fits = header.total_bytes <= FRAME_BYTES_MAX
            && FRAME_HEADER_BYTES + header.effects_bytes <= header.total_bytes
            && header.durable_lsn < header.lsn;
        (field(raw, 0) == MAGIC && header.file_id == *file_id && fits).then_some(header)
    }

    /// Tells whether `frame`, all of it, is what was written.
    pub(crate) fn verify(&self, frame: &[u8]) -> bool {
        frame.len() == self.total_bytes && crc32c::crc32c(&frame[CRC_COVERS_FROM..]) == self.crc
    }
}

impl Frame {
    /// Reads the whole frame that `header` stands before; `None` if it is not what was written.
    pub(crate) fn read(header: FrameHeader, frame: Bytes) -> Option<Self> {
        if !header.verify(&frame) {
            return None;
        }
        let batches_start = FRAME_HEADER_BYTES + header.effects_bytes;
        let effects: Effects = postcard::from_bytes(&frame[FRAME_HEADER_BYTES..batches_start]).ok()?;
        Some(Self { header, effects: effects.upgraded(), batches: frame.slice(batches_start..) })
    }
}

/// Appends the postcard encoding of a value.
pub(crate) fn serialize_into(out: &mut Vec<u8>, value: &impl Serialize) {
    *out = postcard::to_extend(value, std::mem::take(out)).expect("our types serialize, and a Vec grows");
}

fn field<const N: usize>(raw: &[u8; FRAME_HEADER_BYTES], at: usize) -> [u8; N] {
    *raw[at..].first_chunk::<N>().expect("every field lies within the header")
}

#[cfg(test)]
mod tests;
