//! Answers compressed as the client accepts it (RFC 9110 §12.5.3): gzip or zstd.
//!
//! Streams are flushed with every chunk: what was written is at the client, whole, and an event is never held back for want of others. No
//! crate that compresses bodies in passing does that, hence this.

use std::convert::Infallible;
use std::io::{self, Write};

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};

use crate::blocking::blocking;

/// Smaller bodies are sent as they are: a compressed one would hardly be smaller.
const WORTHWHILE_BYTES: usize = 1 << 10;

/// Compresses up to so many bytes without leaving the runtime: about 0.2 ms of work.
const INLINE_BYTES: usize = 16 << 10;

/// Fast rather than small, for both.
const GZIP_LEVEL: u32 = 2;
const ZSTD_LEVEL: i32 = 1;

/// Keeps 128 KiB of a stream to refer to: each subscriber pays for its own.
const ZSTD_WINDOW_LOG: u32 = 17;

/// Says how an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// Picks what the client likes most; among equals zstd, then gzip.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted: Vec<&str> =
            headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
        pick(&accepted.join(","))
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// Gives the answer a whole body.
    pub(super) async fn whole(self, mut answer: Response, body: Bytes) -> Response {
        let coding = if body.len() < WORTHWHILE_BYTES { Self::Identity } else { self };
        coding.mark(&mut answer);
        let body = match Encoder::new(coding) {
            None => body,
            Some(encoder) if body.len() <= INLINE_BYTES => encoder.whole(&body),
            Some(encoder) => blocking(move || encoder.whole(&body)).await,
        };
        *answer.body_mut() = Body::from(body);
        answer
    }

    /// Gives the answer a body that comes chunk by chunk.
    pub(super) fn chunks(self, mut answer: Response, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
        self.mark(&mut answer);
        *answer.body_mut() = match Encoder::new(self) {
            None => Body::from_stream(chunks.map(Ok::<_, Infallible>)),
            Some(encoder) => {
                let coding = (Box::pin(chunks), Some(encoder));
                Body::from_stream(futures::stream::unfold(coding, |(mut chunks, encoder)| async move {
                    let encoder = encoder?;
                    let (bytes, encoder) = match chunks.next().await {
                        Some(chunk) => encoder.chunk_anywhere(chunk).await,
                        None => (encoder.end(), None),
                    };
                    Some((Ok::<_, Infallible>(bytes), (chunks, encoder)))
                }))
            }
        };
        answer
    }

    /// Says in the headers what was done, and to caches that it depends on who asks.
    fn mark(self, answer: &mut Response) {
        answer.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        if let Some(name) = self.name() {
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
    }
}

fn pick(accepted: &str) -> Coding {
    let offers = [(Coding::Zstd, "zstd"), (Coding::Gzip, "gzip")];
    let identity = quality(accepted, "identity").unwrap_or(0);
    let mut best = (Coding::Identity, identity);
    for (coding, name) in offers {
        let Some(quality) = quality(accepted, name).or_else(|| quality(accepted, "*")) else { continue };
        // Identity, which need not be named, gives way to what is named.
        if quality > 0 && (quality > best.1 || (quality == best.1 && best.0 == Coding::Identity)) {
            best = (coding, quality);
        }
    }
    best.0
}

/// Finds a coding's quality in thousandths; `None` if it is not named. Not naming identity is like naming it last.
fn quality(accepted: &str, name: &str) -> Option<u32> {
    accepted.split(',').find_map(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next().filter(|coding| coding.eq_ignore_ascii_case(name))?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality: f32 = quality.map_or(Some(1.0), |quality| quality.parse().ok())?;
        Some((quality.clamp(0.0, 1.0) * 1000.0) as u32)
    })
}

/// Compresses one body.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> Option<Self> {
        Some(match coding {
            Coding::Identity => return None,
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL);
                let mut encoder = encoder.expect("the level is one of zstd's");
                encoder.window_log(ZSTD_WINDOW_LOG).expect("the window is one of zstd's");
                Self::Zstd(encoder)
            }
        })
    }

    /// Compresses a chunk where it holds nobody up.
    async fn chunk_anywhere(mut self, chunk: Bytes) -> (Bytes, Option<Self>) {
        let is_small = chunk.len() <= INLINE_BYTES;
        let compress = move || {
            let bytes = self.chunk(&chunk).expect(IN_MEMORY);
            (bytes, Some(self))
        };
        if is_small { compress() } else { blocking(compress).await }
    }

    /// Compresses a chunk and gives all there is of it.
    fn chunk(&mut self, chunk: &[u8]) -> io::Result<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }

    /// Ends the body.
    fn end(self) -> Bytes {
        let end = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        };
        end.expect(IN_MEMORY).into()
    }

    fn whole(mut self, body: &[u8]) -> Bytes {
        let written = match &mut self {
            Self::Gzip(encoder) => encoder.write_all(body),
            Self::Zstd(encoder) => encoder.write_all(body),
        };
        written.expect(IN_MEMORY);
        self.end()
    }
}

const IN_MEMORY: &str = "compressing in memory does not fail";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_client_chooses_the_coding() {
        for (accepted, expected) in [
            ("", Coding::Identity),
            ("identity", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Zstd),
            ("GZIP;q=0.5", Coding::Gzip),
            ("gzip;q=1, zstd;q=0.5", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=0.5, identity", Coding::Identity),
            ("identity;q=0.5, gzip;q=0.5", Coding::Gzip),
            ("*", Coding::Zstd),
            ("*;q=0.1, zstd;q=0", Coding::Gzip),
            ("br", Coding::Identity),
        ] {
            assert_eq!(pick(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn every_chunk_is_all_there_at_once() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut encoder = Encoder::new(coding).unwrap();
            let (mut sent, mut written) = (Vec::new(), Vec::new());
            for chunk in ["a first chunk\n", "a second chunk\n", "x\n"] {
                sent.extend_from_slice(&encoder.chunk(chunk.as_bytes()).unwrap());
                written.extend_from_slice(chunk.as_bytes());
                assert_eq!(decoded_so_far(coding, &sent), written);
            }
            sent.extend_from_slice(&encoder.end());
            assert_eq!(decoded_so_far(coding, &sent), written);
        }
    }

    /// Gives all that decodes of a body that may go on.
    fn decoded_so_far(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut reader: Box<dyn Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            _ => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        };
        let (mut out, mut byte) = (Vec::new(), [0]);
        while matches!(reader.read(&mut byte), Ok(1)) {
            out.push(byte[0]);
        }
        out
    }
}
