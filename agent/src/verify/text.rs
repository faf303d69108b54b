//! Hashes of texts that can be put together: the hash of `ab` follows from those of `a` and `b`, whichever was seen first. So a line that was
//! shipped in pieces is compared without ever being held whole.
//!
//! A polynomial in a secret base modulo the prime 2^61 - 1 (Rabin and Karp): two texts of n bytes collide with a chance of n in 2^61.

const PRIME: u64 = (1 << 61) - 1;
/// Bytes taken at once: their terms and the hash before fit in 128 bits.
const STRIDE: usize = 8;

/// Stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Text {
    pub(super) hash: u64,
    pub(super) len: u64,
}

/// Makes hashes of one base; those of different bases say nothing to each other.
#[derive(Debug, Clone)]
pub(super) struct Hasher {
    /// The base to the power of the index.
    powers: [u64; STRIDE + 1],
}

impl Hasher {
    /// Takes a random number to make the base of.
    pub(super) fn new(seed: u64) -> Self {
        let base = (seed % (PRIME - 1024)) + 512;
        let mut powers = [1; STRIDE + 1];
        for index in 1..powers.len() {
            powers[index] = multiply(powers[index - 1], base);
        }
        Self { powers }
    }

    /// Hashes a text.
    pub(super) fn of(&self, bytes: &[u8]) -> Text {
        // One is added to each byte, or leading NULs would count for nothing.
        let term = |byte: u8, power: usize| u128::from(self.powers[power]) * (u128::from(byte) + 1);
        let mut hash = 0;
        let mut strides = bytes.chunks_exact(STRIDE);
        for stride in &mut strides {
            let terms: u128 = stride.iter().zip((0..STRIDE).rev()).map(|(byte, power)| term(*byte, power)).sum();
            hash = reduce(u128::from(hash) * u128::from(self.powers[STRIDE]) + terms);
        }
        for byte in strides.remainder() {
            hash = reduce(u128::from(hash) * u128::from(self.powers[1]) + term(*byte, 0));
        }
        Text { hash, len: bytes.len() as u64 }
    }

    /// Gives the hash of two texts, one after the other.
    pub(super) fn join(&self, first: Text, second: Text) -> Text {
        let shifted = u128::from(first.hash) * u128::from(self.power(second.len));
        Text { hash: reduce(shifted + u128::from(second.hash)), len: first.len + second.len }
    }

    fn power(&self, mut exponent: u64) -> u64 {
        let (mut result, mut square) = (1, self.powers[1]);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = multiply(result, square);
            }
            square = multiply(square, square);
            exponent >>= 1;
        }
        result
    }
}

fn multiply(a: u64, b: u64) -> u64 {
    reduce(u128::from(a) * u128::from(b))
}

fn reduce(value: u128) -> u64 {
    let once = (value & u128::from(PRIME)) as u64 + (value >> 61) as u64;
    let twice = (once & PRIME) + (once >> 61);
    if twice >= PRIME { twice - PRIME } else { twice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_put_together_are_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), cut in any::<proptest::sample::Index>(), seed in any::<u64>(),
        ) {
            let hasher = Hasher::new(seed);
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(hasher.join(hasher.of(first), hasher.of(second)), hasher.of(&bytes));
        }

        #[test]
        fn other_texts_have_other_hashes(a in proptest::collection::vec(any::<u8>(), 0..40), b in proptest::collection::vec(any::<u8>(), 0..40)) {
            let hasher = Hasher::new(4711);
            prop_assert_eq!(hasher.of(&a) == hasher.of(&b), a == b);
        }
    }
}
