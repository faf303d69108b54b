//! Frames come back as they were written, and never otherwise.

use proptest::prelude::*;

use super::*;
use crate::effects::{Append, Change};

const FILE: JournalFileId = [7; 16];

fn frame_of(lsn: u64, batches: &[Vec<u8>]) -> (Effects, Vec<u8>) {
    let append = |batch: &Vec<u8>| {
        let bytes = batch.len() as u32;
        let (segment, position, direct) = (5, 0, None);
        let (topic, partition, base_offset, next_offset) = ([1; 16], 3, 5, 6);
        Change::Appended(Append { topic, partition, base_offset, next_offset, bytes, segment, position, direct })
    };
    let effects = Effects { at_ms: -9, changes: batches.iter().map(append).collect() };
    let mut out = Vec::new();
    write(&mut out, (lsn, lsn - 1, FILE), &effects, |out| {
        batches.iter().for_each(|batch| out.extend_from_slice(batch))
    });
    (effects, out)
}

fn read_back(bytes: &[u8], file_id: &JournalFileId) -> Option<Frame> {
    let header = FrameHeader::parse(bytes, file_id)?;
    Frame::read(header, Bytes::copy_from_slice(bytes.get(..header.total_bytes)?))
}

proptest! {
    #[test]
    fn a_frame_comes_back_as_it_was_written(
        lsn in 1..u64::MAX,
        batches in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5),
    ) {
        let (effects, bytes) = frame_of(lsn, &batches);
        let frame = read_back(&bytes, &FILE).expect("it is whole");
        prop_assert_eq!(frame.effects, effects);
        prop_assert_eq!(frame.batches, batches.concat());
        prop_assert_eq!((frame.header.lsn, frame.header.durable_lsn), (lsn, lsn - 1));
        prop_assert_eq!(read_back(&bytes, &[8; 16]), None);
    }

    #[test]
    fn no_changed_bit_and_no_missing_end_goes_unnoticed(
        batch in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (_, bytes) = frame_of(4, &[batch]);
        let place = place.index(bytes.len());
        let mut changed = bytes.clone();
        changed[place] ^= 1_u8 << bit;
        prop_assert_eq!(read_back(&changed, &FILE), None);
        prop_assert_eq!(read_back(&bytes[..place], &FILE), None);
    }
}
