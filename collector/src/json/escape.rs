//! Text as a JSON string, at memory speed where nothing needs an escape.
//!
//! Pure. Eight bytes are looked at together: does one of them need an escape?

use bytes::BytesMut;

/// Repeats a byte in all eight places of a word.
const fn splat(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// Appends `text` in quotes, with `"`, `\` and control characters escaped.
pub(super) fn write_text(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.extend_from_slice(b"\"");
    let mut rest = text.as_bytes();
    while let Some(plain) = plain_len(rest) {
        out.extend_from_slice(&rest[..plain]);
        write_escape(out, rest[plain]);
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\"");
}

/// Counts the bytes before the first that needs an escape; `None` if none does.
fn plain_len(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        if has_special(u64::from_le_bytes(*word)) {
            let within = word.iter().position(|&byte| is_special(byte));
            return within.map(|within| index * 8 + within);
        }
    }
    tail.iter().position(|&byte| is_special(byte)).map(|within| words.len() * 8 + within)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Tells exactly whether a byte of the word is below 0x20, a quote or a backslash.
///
/// The classic "is a byte less than n" of Bit Twiddling Hacks: subtracting borrows into a byte's top bit only if it
/// was smaller, and bytes of 0x80 and more are masked out. A borrow runs on only past a byte that is a hit already.
#[inline]
fn has_special(word: u64) -> bool {
    let less_than_20 = word.wrapping_sub(splat(0x20));
    let quote = (word ^ splat(b'"')).wrapping_sub(splat(1));
    let backslash = (word ^ splat(b'\\')).wrapping_sub(splat(1));
    (less_than_20 | quote | backslash) & !word & splat(0x80) != 0
}

fn write_escape(out: &mut BytesMut, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_at_every_place_comes_back() {
        let characters = (0..=0xff_u8).map(char::from).chain(['€', '\u{2028}', '😀']);
        for character in characters {
            for before in 0..17 {
                let text = format!("{}{character}{}", "x".repeat(before), "y".repeat(16 - before));
                let mut out = BytesMut::new();
                write_text(&mut out, &text);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text, "{character:?} at {before}");
            }
        }
    }
}
