//! Tells from its name and first bytes whether a file is worth following. Pure.

use std::path::Path;

/// Says why a file is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Compressed in a way that is not read, by name or by content.
    Archive,
    /// Not text.
    Binary,
}

impl Skip {
    /// Gives the reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Archive => "it is compressed in a format that is not read",
            Self::Binary => "it does not look like text",
        }
    }
}

const ARCHIVE_ENDINGS: [&str; 3] = ["xz", "bz2", "lz4"];
const ARCHIVE_STARTS: [&[u8]; 3] = [b"\xfd7zXZ\0", b"BZh", b"\x04\x22\x4d\x18"];
const BINARY_STARTS: [&[u8]; 4] = [b"\x7fELF", b"LPKSHHRH", b"SQLite format 3\0", b"\x89PNG\r\n\x1a\n"];

/// Judges a file by its path and its first bytes; the more of them (up to 4 KiB), the surer. An empty file is fine.
///
/// Text may hold control bytes, NULs too, and any byte above 127. It is no text if more than three in ten are control bytes, or
/// three in a hundred where it is no UTF-8 either; unless a UTF-16 byte order mark explains them.
pub fn judge(path: &Path, start: &[u8]) -> Option<Skip> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ARCHIVE_ENDINGS.contains(&ending) || ARCHIVE_STARTS.iter().any(|magic| start.starts_with(magic)) {
        return Some(Skip::Archive);
    }
    // Room that was reserved says nothing.
    let start = &start[..start.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)];
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return None;
    }
    let is_control = |&&byte: &&u8| byte < 0x20 && !b"\t\n\r\x08\x0c\x1b".contains(&byte);
    let controls = start.iter().filter(is_control).count();
    // The last character may be cut.
    let is_utf8 = std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    let controls_max = if is_utf8 { start.len() * 3 / 10 } else { start.len() * 3 / 100 };
    let is_binary = BINARY_STARTS.iter().any(|magic| start.starts_with(magic)) || controls > controls_max;
    is_binary.then_some(Skip::Binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_text() {
        let noise: Vec<u8> = (0..1024u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(judge(Path::new("a.log"), &noise), Some(Skip::Binary));
    }

    #[test]
    fn text_is_followed_and_the_rest_is_named() {
        let cases: [(&str, &[u8], Option<Skip>); 12] = [
            ("a.log", b"", None),
            ("a.log", b"plain text\n", None),
            ("a.log", "größer\n".as_bytes(), None),
            ("a.log", b"\x1b[31mred\x1b[0m\n", None),
            ("a.log", b"\xff\xfea\0\n\0", None),
            ("a.log", b"Latin-1: gr\xf6\xdfer\n", None),
            ("a.log", b"cut \xc3", None),
            ("a.log", b"a few\0NULs in it\n", None),
            ("a.log", b"reserved\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", None),
            ("a.log.xz", b"", Some(Skip::Archive)),
            ("a.log.1", b"\x04\x22\x4d\x18\0", Some(Skip::Archive)),
            ("wtmp", b"\x07\0\0\0\x12\0\0\0pts/0\0\0\0\0\0\0", Some(Skip::Binary)),
        ];
        for (path, start, expected) in cases {
            assert_eq!(judge(Path::new(path), start), expected, "{path} {}", start.escape_ascii());
        }
    }
}
