//! Fields in and out of a frame.
//!
//! Every frame: `SKWY` | version u8 = 3 | kind u8 | fields. Integers are little-endian and of fixed width; bytes and text have a
//! u32 length before them; an option is a u8 0 or 1 and the value; a list is a u32 count and its items.
//!
//! Version 2 added `follows` to the opening of a session, version 3 `expected_carry` to spans and the item that hands over. Frames of the older
//! versions are read, and answered in their own: a fleet is not upgraded in one moment. What the collector answers has been the same in all of
//! them, so only the number differs.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::WireError;

/// Opens every frame.
pub const MAGIC: &[u8; 4] = b"SKWY";

/// Numbers the protocol this build speaks.
pub const VERSION: u8 = 3;

/// Numbers the oldest protocol this build reads.
pub const VERSION_MIN: u8 = 1;

/// Gives the number of the protocol that a frame says it is of; [`VERSION`] for bytes that are none.
pub fn version_of(frame: &[u8]) -> u8 {
    frame.get(MAGIC.len()).copied().unwrap_or(VERSION)
}

/// Gives an answer's frame the number of the protocol that was asked in, [`VERSION_MIN`] to [`VERSION`].
#[must_use]
pub fn in_version(answer: Bytes, version: u8) -> Bytes {
    if version == VERSION {
        return answer;
    }
    let mut frame = BytesMut::from(answer);
    frame[MAGIC.len()] = version;
    frame.freeze()
}

/// Writes the fields of one frame.
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn new(kind: u8) -> Self {
        Self::with_capacity(kind, 256)
    }

    /// Makes room for a frame of about so many bytes.
    pub(crate) fn with_capacity(kind: u8, bytes: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(bytes);
        bytes.put_slice(MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(kind);
        Self(bytes)
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.put_u32_le(value);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.put_u64_le(value);
    }

    pub(crate) fn array(&mut self, value: &[u8; 16]) {
        self.0.put_slice(value);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.0.put_u32_le(value.len() as u32);
        self.0.put_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(items.len() as u32);
        items.iter().for_each(|item| write(self, item));
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Reads the fields of one frame; byte fields share the frame's memory.
pub(crate) struct Reader {
    rest: Bytes,
    version: u8,
}

impl Reader {
    pub(crate) fn new(mut frame: Bytes, expected: u8) -> Result<Self, WireError> {
        if frame.len() < 6 || &frame[..4] != MAGIC {
            return Err(WireError::Magic);
        }
        frame.advance(4);
        let (found, kind) = (frame.get_u8(), frame.get_u8());
        if !(VERSION_MIN..=VERSION).contains(&found) {
            return Err(WireError::Version { found, supported: VERSION });
        }
        if kind != expected {
            return Err(WireError::Kind { found: kind, expected });
        }
        Ok(Self { rest: frame, version: found })
    }

    /// Gives the version the frame is of.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.need(1, field)?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.need(4, field)?;
        Ok(self.rest.get_u32_le())
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.need(8, field)?;
        Ok(self.rest.get_u64_le())
    }

    pub(crate) fn array(&mut self, field: &'static str) -> Result<[u8; 16], WireError> {
        self.need(16, field)?;
        let mut value = [0; 16];
        self.rest.copy_to_slice(&mut value);
        Ok(value)
    }

    /// Takes a byte field of at most `max` bytes.
    pub(crate) fn bytes(&mut self, field: &'static str, max: usize) -> Result<Bytes, WireError> {
        let length = self.u32(field)? as usize;
        if length > max {
            return Err(WireError::field(field, format_args!("{length} bytes, at most {max}")));
        }
        self.need(length, field)?;
        Ok(self.rest.split_to(length))
    }

    /// Takes a text field of at most 64 KiB.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, WireError> {
        let bytes = self.bytes(field, 64 << 10)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| WireError::field(field, "not UTF-8"))
    }

    pub(crate) fn parsed<T>(&mut self, field: &'static str) -> Result<T, WireError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        self.text(field)?.parse().map_err(|error| WireError::field(field, error))
    }

    pub(crate) fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        match self.u8(field)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(WireError::field(field, format_args!("{other} is neither 0 nor 1"))),
        }
    }

    /// Takes a list of at most `max` things.
    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.u32(field)?;
        if count as usize > max {
            return Err(WireError::field(field, format_args!("{count} of them, at most {max}")));
        }
        // The count is the sender's claim: memory grows only with items that are really there.
        let mut items = Vec::with_capacity((count as usize).min(1024));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub(crate) fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }

    fn need(&self, bytes: usize, field: &'static str) -> Result<(), WireError> {
        if self.rest.len() < bytes { Err(WireError::CutShort(field)) } else { Ok(()) }
    }
}
