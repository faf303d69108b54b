//! Cuts a block of UTF-16 into lines, as `lines.rs` does bytes: two bytes at a time, so that no byte of another unit is taken for an LF. No cut
//! falls inside a surrogate pair or between CR and LF.

use crate::flow::Line;
use crate::frame::encoding::Order;
use crate::frame::lines::{Framing, Place};

const LF: u16 = 0x0a;
const CR: u16 = 0x0d;

/// Gives the lines of one block, in order, as long as they are whole or too long.
#[derive(Debug)]
pub struct WideLines<'a> {
    framing: Framing,
    order: Order,
    block: &'a [u8],
    consumed: usize,
    place: Place,
}

impl<'a> WideLines<'a> {
    /// Starts at the front of `block`, which begins with a whole unit, in `place`.
    pub fn new(framing: Framing, order: Order, block: &'a [u8], place: Place) -> Self {
        Self { framing, order, block, consumed: 0, place }
    }

    /// Tells how many bytes of the block are done with.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Tells where the framer stands after them.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Gives what is left as a piece of a line; for a file that has gone quiet.
    pub fn flush(&mut self) -> Option<Line<'a>> {
        let rest = &self.block[self.consumed..];
        let piece = &rest[..self.cut_before(rest)];
        (!piece.is_empty()).then(|| self.piece(piece))
    }

    fn unit(&self, bytes: &[u8], at: usize) -> u16 {
        match self.order {
            Order::Little => u16::from_le_bytes([bytes[at], bytes[at + 1]]),
            Order::Big => u16::from_be_bytes([bytes[at], bytes[at + 1]]),
        }
    }

    fn line_feed(&self, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len() / 2).map(|unit| unit * 2).find(|&at| self.unit(bytes, at) == LF)
    }

    fn piece(&mut self, bytes: &'a [u8]) -> Line<'a> {
        self.consumed += bytes.len();
        let continued = std::mem::replace(&mut self.place, Place::InsideLine) == Place::InsideLine;
        Line { bytes, continued, partial: true }
    }

    /// Finds the last place at or before the end where a line may be cut.
    fn cut_before(&self, bytes: &[u8]) -> usize {
        let end = bytes.len() & !1;
        match end.checked_sub(2).map(|last| self.unit(bytes, last)) {
            Some(CR | 0xd800..=0xdbff) if end > 2 => end - 2,
            _ => end,
        }
    }
}

impl<'a> Iterator for WideLines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let max = self.framing.line_bytes_max & !1;
        loop {
            let rest = &self.block[self.consumed..];
            let window = &rest[..rest.len().min(max + 4)];
            let Some(end) = self.line_feed(window) else {
                if window.len() < max + 4 {
                    return None;
                }
                let cut = self.cut_before(&rest[..max]);
                return Some(self.piece(&rest[..cut]));
            };
            let mut bytes = &rest[..end];
            if !self.framing.keep_cr && end >= 2 && self.unit(rest, end - 2) == CR {
                bytes = &rest[..end - 2];
            }
            if bytes.len() > max {
                let cut = self.cut_before(&rest[..max]);
                return Some(self.piece(&rest[..cut]));
            }
            self.consumed += end + 2;
            let continued = std::mem::take(&mut self.place) == Place::InsideLine;
            if !(continued && bytes.is_empty()) {
                return Some(Line { bytes, continued, partial: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encoding::Encoding;
    use proptest::prelude::*;

    const FRAMING: Framing = Framing { line_bytes_max: 1024, keep_cr: false };

    fn encode(text: &str, order: Order) -> Vec<u8> {
        let bytes = |unit: u16| if order == Order::Big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn frame(framing: Framing, order: Order, text: &[u8]) -> Vec<String> {
        let mut lines = WideLines::new(framing, order, text, Place::LineStart);
        let show = |line: Line<'_>| {
            let text = Encoding::Utf16(order).decode(line.bytes).into_owned();
            let (before, after) = (if line.continued { ">" } else { "" }, if line.partial { "…" } else { "" });
            format!("{before}{}{after}", String::from_utf8(text).unwrap())
        };
        let mut shown: Vec<String> = lines.by_ref().map(show).collect();
        shown.extend(lines.flush().map(show));
        shown
    }

    #[test]
    fn lines_of_either_order_are_cut_at_line_feeds_only() {
        for order in [Order::Little, Order::Big] {
            // Ċ is 010A, 上 4E0A, ਊ 0A0A: bytes of an LF, but none.
            let text = encode("aĊ\r\n上ਊb\n\n😀", order);
            assert_eq!(frame(FRAMING, order, &text), ["aĊ", "上ਊb", "", "😀…"]);
            assert_eq!(frame(FRAMING, order, &text[..text.len() - 3]), ["aĊ", "上ਊb", ""]);
        }
    }

    #[test]
    fn long_lines_come_in_pieces_that_are_text() {
        let short = Framing { line_bytes_max: 8, keep_cr: false };
        let text = encode("abc😀def\nx\n", Order::Little);
        assert_eq!(frame(short, Order::Little, &text), ["abc…", ">😀de…", ">f", "x"]);
    }

    proptest! {
        #[test]
        fn any_text_comes_back(lines in proptest::collection::vec("[^\r\n]{0,40}", 0..10)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            for order in [Order::Little, Order::Big] {
                prop_assert_eq!(frame(FRAMING, order, &encode(&text, order)), lines.clone());
            }
        }
    }
}
