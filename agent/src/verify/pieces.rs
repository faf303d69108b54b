//! Lines of records that are read backwards: a record may hold several lines, a line may come in several records. Pure.

use std::collections::HashMap;

use super::text::{Hasher, Text};

/// Numbers the paths that records say they are from.
pub(super) type PathId = u32;

/// Holds a line of a record, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) path: PathId,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) text: Text,
    /// The line begins with it.
    pub(super) begins: bool,
    /// The line ends with it.
    pub(super) ends: bool,
}

/// Puts lines together. Of each path one line is open at most: the pieces of two files under one path, mixed, are taken for one.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    open: HashMap<PathId, Piece>,
}

impl Joiner {
    /// Takes the piece before those taken so far; gives the lines that are whole by that, with the place of their first piece.
    pub(super) fn take(&mut self, hasher: &Hasher, piece: Piece, mut line: impl FnMut(Piece)) {
        let rest = self.open.remove(&piece.path);
        let mut whole = piece;
        match rest {
            Some(rest) if !piece.ends => whole.text = hasher.join(piece.text, rest.text),
            // What it continues is not there: it stands for itself.
            Some(rest) => line(rest),
            // A record of several lines was cut after a line end: the next piece begins another line.
            None if !piece.ends && piece.text.len == 0 => return,
            None => {}
        }
        if whole.begins {
            line(whole);
        } else {
            self.open.insert(piece.path, whole);
        }
    }
}

/// Splits a record's value into lines, first to last. `keep_cr`: a CR before an LF belongs to the line.
pub(super) fn split(
    value: &[u8],
    (continued, partial): (bool, bool),
    keep_cr: bool,
    mut line: impl FnMut(&[u8], bool, bool),
) {
    let mut begins = !continued;
    let mut rest = value;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let text = &rest[..end];
        line(if keep_cr { text } else { text.strip_suffix(b"\r").unwrap_or(text) }, begins, true);
        (begins, rest) = (true, &rest[end + 1..]);
    }
    line(rest, begins, !partial);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes records written as `>` if continued, text, `…` if partial, and gives the lines put together, last first.
    fn lines(records: &[&str]) -> Vec<String> {
        let hasher = Hasher::new(1);
        let known: Vec<String> =
            ["", "one", "two", "onetwo", "three", "twothree", "onetwothree"].map(str::to_owned).into();
        let mut pieces = Vec::new();
        for (offset, record) in records.iter().enumerate() {
            let (text, continued) = record.strip_prefix('>').map_or((*record, false), |text| (text, true));
            let (text, partial) = text.strip_suffix('…').map_or((text, false), |text| (text, true));
            split(text.as_bytes(), (continued, partial), false, |text, begins, ends| {
                let text = hasher.of(text);
                pieces.push(Piece { path: 0, partition: 0, offset: offset as u64, text, begins, ends });
            });
        }
        let (mut joiner, mut found) = (Joiner::default(), Vec::new());
        for piece in pieces.into_iter().rev() {
            joiner.take(&hasher, piece, |line| {
                let text = known.iter().find(|known| hasher.of(known.as_bytes()) == line.text);
                found.push(format!("{}@{}", text.unwrap(), line.offset));
            });
        }
        found
    }

    #[test]
    fn lines_are_put_together_as_the_table_says() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["one", "two"], &["two@1", "one@0"]),
            (&["one…", ">two…", ">three"], &["onetwothree@0"]),
            (&["one…", "two"], &["two@1", "one@0"]),
            (&["one\r\ntwo", ""], &["@1", "two@0", "one@0"]),
            (&["one\ntwo…", ">three\n…", ">"], &["@1", "twothree@0", "one@0"]),
            (&["one\n…", ">two"], &["two@0", "one@0"]),
            (&[">two", "three"], &["three@1"]),
            (&["one", ">two"], &["two@1", "one@0"]),
        ];
        for (records, expected) in cases {
            let found = lines(records);
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), *expected, "{records:?}");
        }
    }
}
