//! What the bytes of a file mean. Pure.
//!
//! Lines are cut first and decoded after: in every encoding taken here but UTF-16 an LF is the byte 10 and nothing else is, and nothing is
//! carried from one line to the next. What is no character becomes U+FFFD.

use std::borrow::Cow;

use encoding_rs::{ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, X_USER_DEFINED};

/// Says what an input's bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// They are shipped as they are, whatever they are.
    #[default]
    Bytes,
    /// A superset of ASCII, made UTF-8.
    Ascii(&'static encoding_rs::Encoding),
    /// Two bytes a unit, made UTF-8. A byte order mark at the file's start is dropped.
    Utf16(Order),
    /// As [`Encoding::Utf16`]; the byte order mark says which byte comes first, the lower one if there is none.
    Utf16ByMark,
}

/// Says which byte of a unit comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The lower.
    Little,
    /// The higher.
    Big,
}

impl Encoding {
    /// Finds an encoding by its name, any label of the WHATWG's Encoding Standard.
    ///
    /// # Errors
    /// In words: nobody knows it, or it cannot be cut into lines.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "utf-8" | "binary" => return Ok(Self::Bytes),
            "utf-16" => return Ok(Self::Utf16ByMark),
            _ => {}
        }
        let known = encoding_rs::Encoding::for_label_no_replacement(name.as_bytes());
        match known.ok_or_else(|| format!("{name:?} is no encoding's name; utf-8, utf-16 and windows-1252 are"))? {
            found if found == UTF_8 => Ok(Self::Bytes),
            found if found == UTF_16LE => Ok(Self::Utf16(Order::Little)),
            found if found == UTF_16BE => Ok(Self::Utf16(Order::Big)),
            found if [ISO_2022_JP, REPLACEMENT, X_USER_DEFINED].contains(&found) => {
                Err(format!("{name:?} cannot be cut into lines; convert the file before"))
            }
            found => Ok(Self::Ascii(found)),
        }
    }

    /// Tells how many bytes a unit has.
    pub fn unit_len(self) -> usize {
        if matches!(self, Self::Utf16(_) | Self::Utf16ByMark) { 2 } else { 1 }
    }

    /// Settles the byte order by the file's first bytes; `None` while there are fewer than two.
    pub fn settled(self, start: &[u8]) -> Option<Self> {
        match (self, start) {
            (Self::Utf16ByMark, [0xfe, 0xff, ..]) => Some(Self::Utf16(Order::Big)),
            (Self::Utf16ByMark, [_, _, ..]) => Some(Self::Utf16(Order::Little)),
            (Self::Utf16ByMark, _) => None,
            (other, _) => Some(other),
        }
    }

    /// Tells how long the byte order mark at a file's start is.
    pub fn mark_len(self, start: &[u8]) -> usize {
        match (self, start) {
            (Self::Utf16(Order::Little), [0xff, 0xfe, ..]) | (Self::Utf16(Order::Big), [0xfe, 0xff, ..]) => 2,
            _ => 0,
        }
    }

    /// Gives a line as it is to be shipped.
    pub fn decode(self, line: &[u8]) -> Cow<'_, [u8]> {
        let from = match self {
            Self::Bytes => return Cow::Borrowed(line),
            Self::Ascii(encoding) => encoding,
            Self::Utf16(Order::Big) => UTF_16BE,
            Self::Utf16(Order::Little) | Self::Utf16ByMark => UTF_16LE,
        };
        match from.decode_without_bom_handling(line).0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_have_the_names_people_know() {
        let named = |name| Encoding::named(name).unwrap();
        assert_eq!([named("utf-8"), named("utf8")], [Encoding::Bytes; 2]);
        assert_eq!(named("utf-16le"), Encoding::Utf16(Order::Little));
        assert_eq!(named("utf-16be"), Encoding::Utf16(Order::Big));
        assert_eq!(named("utf-16"), Encoding::Utf16ByMark);
        assert_eq!(named("latin1").decode(b"gr\xfc\xdfe"), Cow::Borrowed("grüße".as_bytes()));
        assert_eq!(named("shift_jis").decode(b"\x93\xfa\x96{"), Cow::Borrowed("日本".as_bytes()));
        assert!(Encoding::named("ebcdic").unwrap_err().contains("no encoding's name"));
        assert!(Encoding::named("iso-2022-jp").unwrap_err().contains("cannot be cut"));
    }

    #[test]
    fn the_mark_says_the_order_and_is_dropped() {
        let cases: [(&[u8], Option<Order>, usize); 5] = [
            (b"\xff\xfea\0", Some(Order::Little), 2),
            (b"\xfe\xff\0a", Some(Order::Big), 2),
            (b"a\0", Some(Order::Little), 0),
            (b"\xfe", None, 0),
            (b"", None, 0),
        ];
        for (start, order, mark) in cases {
            let settled = Encoding::Utf16ByMark.settled(start);
            assert_eq!(settled, order.map(Encoding::Utf16));
            assert_eq!(settled.map_or(0, |settled| settled.mark_len(start)), mark);
        }
    }
}
