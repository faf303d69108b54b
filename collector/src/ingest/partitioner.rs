//! Which partition a record goes to: the one it names, its key's, or the request's.
//!
//! Pure but for the counter that gives each keyless request another partition.

use std::sync::atomic::{AtomicU32, Ordering};

/// Gives the partition of a key as Kafka's default partitioner does.
pub fn partition_of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Hands partitions out in turn.
#[derive(Debug, Default)]
pub struct RoundRobin(AtomicU32);

impl RoundRobin {
    /// Gives the next partition.
    pub fn next(&self, partitions: u32) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) % partitions
    }
}

/// Hashes as Kafka's `Utils.murmur2` does (MurmurHash2, 32 bits, seed 0x9747b28c).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (mixed ^ (mixed >> 24)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut rest = [0; 4];
        rest[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(rest)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafka() {
        // The cases of Kafka's own UtilsTest.testMurmur2.
        for (key, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    #[test]
    fn round_robin_visits_every_partition() {
        let turns = RoundRobin::default();
        assert_eq!([0, 1, 2, 0, 1], [0; 5].map(|_| turns.next(3)));
    }
}
