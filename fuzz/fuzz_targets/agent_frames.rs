//! Cuts arbitrary bytes into records as the agent does, whole and in blocks: every way gives the same bytes, nothing panics.
//!
//! An input is a byte of choices, one of block length, and what is in the file.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use skidway_agent::frame::carry::Carry;
use skidway_agent::frame::container::Container;
use skidway_agent::frame::encoding::{Encoding, Order};
use skidway_agent::frame::framer::Framer;
use skidway_agent::frame::lines::{Framing, LongLines, Place};
use skidway_agent::frame::multiline::{Multiline, PRESETS, Rule};
use skidway_agent::frame::strands::{Given, Joining, Quiet, Strands, TEXT_BYTES_MAX};

static JAVA: LazyLock<Multiline> = LazyLock::new(|| {
    let pattern = regex::bytes::Regex::new(PRESETS[0].1).expect("our own pattern");
    Multiline::new(Rule::Continue(pattern), Duration::from_secs(1), 5)
});

fuzz_target!(|data: &[u8]| {
    if let Some(carry) = Carry::decode(data) {
        let written = carry.encode();
        assert_eq!(Carry::decode(&written), Some(carry));
    }
    let Some((&[choice, block], file)) = data.split_first_chunk::<2>() else { return };
    let framing = Framing { line_bytes_max: 16 + usize::from(choice & 7), keep_cr: choice & 8 != 0 };
    let encoding = match choice >> 6 {
        2 => Encoding::Utf16(Order::Little),
        3 => Encoding::Utf16(Order::Big),
        _ => Encoding::Bytes,
    };
    let multiline = (choice & 16 != 0 && encoding == Encoding::Bytes).then_some(&*JAVA);
    frame(framing, encoding, multiline, (file, usize::from(block)));
    if encoding == Encoding::Bytes {
        join(framing, (choice & 32 != 0).then_some(&*JAVA), file);
    }
});

/// Cuts a file block by block; every block makes progress, or asks for more.
fn frame(framing: Framing, encoding: Encoding, multiline: Option<&Multiline>, (file, more): (&[u8], usize)) {
    let (mut at, mut place) = (0, Place::default());
    let least = 4 * (framing.block_bytes_min() + 2) + more;
    while at < file.len() {
        let end = (at + least).min(file.len());
        let block = &file[at..end];
        let mut framer = Framer::new(framing, encoding, multiline, block, place);
        let lines = match &mut framer {
            Framer::Lines(lines) => lines.by_ref().map(|line| line.bytes.len()).sum::<usize>(),
            Framer::Wide(lines) => lines.by_ref().map(|line| line.bytes.len()).sum(),
            Framer::Records(records) => records.by_ref().map(|line| line.bytes.len()).sum(),
        };
        assert!(lines <= block.len() && framer.consumed() <= block.len());
        if end == file.len() {
            let _rest = framer.give_open().is_some() || framer.flush().is_some();
            assert!(framer.consumed() <= block.len());
            return;
        }
        assert!(framer.consumed() > 0, "a block of {least} bytes makes progress");
        (at, place) = (at + framer.consumed(), framer.place());
    }
}

/// Joins what container runtimes split.
fn join(framing: Framing, multiline: Option<&Multiline>, file: &[u8]) {
    for container in [Container::Cri, Container::Docker, Container::Auto] {
        for long_lines in [LongLines::Split, LongLines::Truncate, LongLines::DeadLetter] {
            let joining = Joining { container, multiline, framing, long_lines, text_bytes_max: TEXT_BYTES_MAX };
            let (mut strands, mut given) = (Strands::default(), 0);
            let mut give = |it: Given<'_>| {
                given += 1;
                if let Given::Record(piece) = it {
                    assert!(piece.bytes.len() <= file.len());
                }
            };
            let lines = skidway_agent::frame::lines::Lines::new(Framing { line_bytes_max: 1 << 20, ..framing }, file, Place::LineStart);
            for (number, line) in lines.enumerate() {
                strands.take(&joining, line, number as i64, &mut give);
            }
            strands.flush(&joining, Quiet::ALL, &mut give);
            assert!(strands.text_bytes() <= TEXT_BYTES_MAX);
            let mut carry = Carry::default();
            carry.set_strands(strands);
            let written = carry.encode();
            assert!(Carry::decode(&written).is_some(), "what we write can be read");
        }
    }
}
