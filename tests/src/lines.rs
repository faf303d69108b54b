//! The line every test writer writes, so that each line alone tells where it belongs and whether it is whole.
//!
//! ```text
//! <file> <seq> <crc32c of text, 8 hex digits> g<generation> <text>
//! ```
//!
//! `seq` counts a writer's lines from 0 over all its files; `generation` counts its files.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const WORDS: [&str; 16] = [
    "GET",
    "POST",
    "/index.html",
    "/api/v1/orders",
    "200",
    "404",
    "timeout",
    "connection",
    "reset",
    "by",
    "peer",
    "Mozilla/5.0",
    "level=info",
    "user=4711",
    "took=12ms",
    "ÄÖÜ",
];

/// Holds what a line says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its writer.
    pub file: &'a str,
    /// Its number.
    pub seq: u64,
    /// The writer's file it was written to.
    pub generation: u64,
    /// Whether the text matches its checksum.
    pub whole: bool,
}

/// Reads a line back; `None` if it is none of ours, or torn.
pub fn parse(line: &str) -> Option<Line<'_>> {
    let mut fields = line.splitn(5, ' ');
    let file = fields.next()?;
    let seq = fields.next()?.parse().ok()?;
    let crc = u32::from_str_radix(fields.next()?, 16).ok()?;
    let generation = fields.next()?.strip_prefix('g')?.parse().ok()?;
    let whole = crc32c::crc32c(fields.next()?.as_bytes()) == crc;
    Some(Line { file, seq, generation, whole })
}

/// Makes texts that compress about as logs do, always the same ones for a seed.
#[derive(Debug)]
pub struct Texts(StdRng);

impl Texts {
    /// Begins the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Appends one line with its LF.
    pub fn write_line(&mut self, out: &mut Vec<u8>, file: &str, seq: u64, generation: u64) {
        let mut text = String::with_capacity(160);
        for _ in 0..self.0.random_range(3..20) {
            text.push_str(WORDS[self.0.random_range(0..WORDS.len())]);
            text.push(' ');
        }
        text.push_str(&self.0.random::<u32>().to_string());
        let crc = crc32c::crc32c(text.as_bytes());
        out.extend_from_slice(format!("{file} {seq} {crc:08x} g{generation} {text}\n").as_bytes());
    }

    /// Decides something with the given odds.
    pub fn one_in(&mut self, odds: u32) -> bool {
        self.0.random_range(0..odds) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_damage_is_seen() {
        let mut bytes = Vec::new();
        Texts::new(1).write_line(&mut bytes, "w0", 7, 3);
        let line = String::from_utf8(bytes).unwrap();
        let line = line.trim_end();
        assert_eq!(parse(line), Some(Line { file: "w0", seq: 7, generation: 3, whole: true }));
        assert!(!parse(&line[..line.len() - 1]).unwrap().whole);
        assert_eq!(parse("w0 7 zz g3 x"), None);
        assert_eq!(parse(""), None);
    }
}
