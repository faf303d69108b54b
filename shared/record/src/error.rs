//! What can be wrong with bytes that claim to be a batch, and with names that claim to be ours.

/// Says what whoever meets an error does about it (docs/HOUSE-STYLE.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The same data may succeed later: back off and try again.
    Retry,
    /// The data is bad: count it, keep it aside, go on.
    Reject,
    /// Trust is gone: stop this partition or process.
    Halt,
}

/// Tells why bytes are not a record batch. Its fate is always [`Fate::Reject`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or the batch's own length field needs.
    #[error("batch is cut short: {have} bytes of {need}")]
    CutShort {
        /// Bytes at hand.
        have: usize,
        /// Bytes the batch needs.
        need: usize,
    },
    /// A length field that no batch can have, or one past the limit.
    #[error("batch length {length} is outside {min}..={max}")]
    Length {
        /// Length found, in bytes, with the 12 bytes before the length's own end.
        length: i64,
        /// Smallest valid.
        min: usize,
        /// Largest accepted.
        max: usize,
    },
    /// Not format version 2.
    #[error("batch has magic {0}, only 2 is supported")]
    Magic(u8),
    /// The checksum over attributes and body does not match.
    #[error("batch CRC-32C is {actual:#010x}, its header says {expected:#010x}")]
    Crc {
        /// From the header.
        expected: u32,
        /// Of the bytes.
        actual: u32,
    },
    /// Counts and deltas in the header contradict each other.
    #[error("batch header is inconsistent: {0}")]
    Header(&'static str),
    /// A compression code that Kafka does not define.
    #[error("batch has unknown compression code {0}")]
    UnknownCompression(u8),
    /// The body does not decompress.
    #[error("batch body does not decompress as {codec}: {reason}")]
    Decompress {
        /// Codec named by the header.
        codec: &'static str,
        /// The codec's own words.
        reason: String,
    },
    /// The body decompresses to more than [`crate::limits::DECOMPRESSED_BYTES_MAX`].
    #[error("batch body decompresses to more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// A record inside the body is malformed.
    #[error("record {index} of the batch is malformed: {reason}")]
    Record {
        /// Which record, from 0.
        index: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Tells why a string is not a valid name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not valid: {rule}")]
pub struct InvalidName {
    /// `topic name`, `agent id`, …
    pub what: &'static str,
    /// The offending text, at most 300 bytes of it.
    pub name: String,
    /// What it has to be.
    pub rule: &'static str,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, name: &str, rule: &'static str) -> Self {
        Self { what, name: name.chars().take(75).collect(), rule }
    }
}
