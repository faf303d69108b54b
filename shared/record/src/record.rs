//! One record, borrowed from a decoded batch body.
//!
//! Bytes of a record (KIP-98), all integers zig-zag varints but `attributes`:
//!
//! ```text
//! length | attributes i8 = 0 | timestamp delta | offset delta | key len, key | value len, value | header count, headers
//! header = key len, key (UTF-8) | value len, value           a length of -1 is null
//! ```

use crate::varint;

/// Holds one record of a batch, its bytes borrowed from the decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset relative to the batch's base offset; after compaction deltas may have gaps.
    pub offset_delta: u32,
    /// Milliseconds since 1970, absolute.
    pub timestamp_ms: i64,
    /// Key; `None` if absent.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: u32,
}

/// Holds one header of a record. Keys may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Key as written; UTF-8 by Kafka's rule, not checked.
    pub key: &'a [u8],
    /// Value; `None` if null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// Tells how many headers the record has.
    pub fn header_count(&self) -> u32 {
        self.header_count
    }

    /// Gives the bytes of key, value and headers together.
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers.len()
    }

    /// Iterates over the headers in the order they were written.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.headers;
        (0..self.header_count).map_while(move |_| read_header(&mut rest))
    }

    /// Gives the headers as they are encoded, without their count.
    pub(crate) fn encoded_headers(&self) -> &'a [u8] {
        self.headers
    }

    /// Gives the record with the time of its append, if the batch has one, instead of its own.
    pub(crate) fn with_append_time(mut self, append_time_ms: Option<i64>) -> Self {
        self.timestamp_ms = append_time_ms.unwrap_or(self.timestamp_ms);
        self
    }

    /// Takes the record at the front of `body`; the error names what is wrong with it.
    pub(crate) fn read(body: &mut &'a [u8], base_timestamp_ms: i64) -> Result<Self, &'static str> {
        let length = varint::read(body).ok_or("its length is cut short")?;
        let length = usize::try_from(length).ok().filter(|&n| n <= body.len()).ok_or("its length is impossible")?;
        let (mut input, rest) = body.split_at(length);
        *body = rest;
        let input = &mut input;
        let (&_attributes, after) = input.split_first().ok_or("it is empty")?;
        *input = after;
        let timestamp_delta = varint::read(input).ok_or("its timestamp is cut short")?;
        let offset_delta = varint::read(input).ok_or("its offset is cut short")?;
        let offset_delta = u32::try_from(offset_delta).map_err(|_| "its offset delta is impossible")?;
        let key = read_bytes(input).ok_or("its key is cut short")?;
        let value = read_bytes(input).ok_or("its value is cut short")?;
        let header_count = varint::read(input).ok_or("its header count is cut short")?;
        let header_count = u32::try_from(header_count).map_err(|_| "its header count is impossible")?;
        let headers = *input;
        for _ in 0..header_count {
            read_header(input).ok_or("a header is cut short")?;
        }
        if !input.is_empty() {
            return Err("its length covers more than its fields");
        }
        let timestamp_ms = base_timestamp_ms.wrapping_add(timestamp_delta);
        Ok(Self { offset_delta, timestamp_ms, key, value, headers, header_count })
    }
}

/// Takes a length-prefixed field; `Some(None)` is Kafka's null.
fn read_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read(input)?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}

fn read_header<'a>(input: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = read_bytes(input)??;
    let value = read_bytes(input)?;
    Some(Header { key, value })
}
