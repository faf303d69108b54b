//! Kafka's codecs over a batch body: writes zstd or nothing, reads all five, never past a cap.

use std::io::Read;

use crate::error::BatchError;
use crate::limits::DECOMPRESSED_BYTES_MAX;

/// Names a codec by Kafka's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// 0: stored as it is.
    None,
    /// 1: gzip.
    Gzip,
    /// 2: snappy, in snappy-java's blocks or raw.
    Snappy,
    /// 3: LZ4 frame.
    Lz4,
    /// 4: Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// Finds the codec of a batch's attribute bits 0–2.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`] (reject) for 5, 6 and 7.
    pub fn from_code(code: u8) -> Result<Self, BatchError> {
        Ok(match code {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(BatchError::UnknownCompression(other)),
        })
    }

    /// Gives the number for the attribute bits.
    pub fn code(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Decompresses a batch body, at most `max` bytes of it.
///
/// # Errors
/// [`BatchError::Decompress`] or [`BatchError::TooLarge`] (reject).
pub fn decompress(codec: Compression, body: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let fail = |reason: String| BatchError::Decompress { codec: codec.name(), reason };
    match codec {
        Compression::None if body.len() > max => Err(BatchError::TooLarge { max }),
        Compression::None => Ok(body.to_vec()),
        Compression::Gzip => read_capped(flate2::read::MultiGzDecoder::new(body), max, fail),
        Compression::Lz4 => read_capped(lz4_flex::frame::FrameDecoder::new(body), max, fail),
        Compression::Zstd => {
            let decoder = zstd_decoder(body).map_err(|error| fail(error.to_string()))?;
            let hint = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
            read_capped_hinted(decoder, max, hint, fail)
        }
        Compression::Snappy => decompress_snappy(body, max).map_err(|error| match error {
            SnappyError::TooLarge => BatchError::TooLarge { max },
            SnappyError::Malformed(reason) => fail(reason),
        }),
    }
}

/// Bounds the window a zstd frame may ask for, as a power of two: 16 MiB, the most a body decompresses to.
const ZSTD_WINDOW_LOG_MAX: u32 = DECOMPRESSED_BYTES_MAX.ilog2();

fn zstd_decoder(body: &[u8]) -> std::io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn read_capped(reader: impl Read, max: usize, fail: impl Fn(String) -> BatchError) -> Result<Vec<u8>, BatchError> {
    read_capped_hinted(reader, max, None, fail)
}

/// Reads to the end, or to one byte past `max`. A lying size hint costs at most `max` bytes of memory.
fn read_capped_hinted(
    reader: impl Read,
    max: usize,
    hint: Option<u64>,
    fail: impl Fn(String) -> BatchError,
) -> Result<Vec<u8>, BatchError> {
    let capacity = hint.unwrap_or(0).min(max as u64) as usize;
    let mut out = Vec::with_capacity(capacity + 1);
    reader.take(max as u64 + 1).read_to_end(&mut out).map_err(|error| fail(error.to_string()))?;
    if out.len() > max { Err(BatchError::TooLarge { max }) } else { Ok(out) }
}

/// Opens every stream of snappy-java, which Kafka's Java client writes: magic, two versions, then blocks.
const SNAPPY_JAVA_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

enum SnappyError {
    TooLarge,
    Malformed(String),
}

fn decompress_snappy(body: &[u8], max: usize) -> Result<Vec<u8>, SnappyError> {
    let Some(blocks) = body.strip_prefix(SNAPPY_JAVA_MAGIC) else {
        return decompress_snappy_block(body, max);
    };
    let mut blocks = blocks.get(8..).ok_or_else(|| SnappyError::Malformed("cut header".into()))?;
    let mut out = Vec::new();
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(|| SnappyError::Malformed("cut block".into()))?;
        out.extend_from_slice(&decompress_snappy_block(block, max - out.len())?);
        blocks = rest;
    }
    if blocks.is_empty() { Ok(out) } else { Err(SnappyError::Malformed("cut block length".into())) }
}

fn decompress_snappy_block(block: &[u8], max: usize) -> Result<Vec<u8>, SnappyError> {
    let malformed = |error: snap::Error| SnappyError::Malformed(error.to_string());
    if snap::raw::decompress_len(block).map_err(malformed)? > max {
        return Err(SnappyError::TooLarge);
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(malformed)
}

/// Compresses batch bodies with zstd, reusing one context.
pub struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Compressor {
    /// Makes a compressor of the given zstd level: 1 (fast, default) to 19.
    ///
    /// # Errors
    /// [`BatchError::Decompress`] never; only an invalid level or lack of memory, as zstd's own error.
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(level)? })
    }

    /// Appends the compressed `body` to `out`; false if it did not shrink, `out` then being as before.
    pub(crate) fn append(&mut self, body: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let mut tail = std::io::Cursor::new(std::mem::take(out));
        tail.get_mut().reserve(zstd::zstd_safe::compress_bound(body.len()));
        tail.set_position(start as u64);
        let written = self.zstd.compress_to_buffer(body, &mut tail);
        *out = tail.into_inner();
        match written {
            Ok(bytes) if bytes < body.len() => true,
            _ => {
                out.truncate(start);
                false
            }
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}
