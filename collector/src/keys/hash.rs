//! What the index knows a key by: 128 bits of SipHash-1-3 under a random key of the index's own.
//!
//! Pure. Nobody who does not know the random key can make two keys that collide, and by chance two of 2^40 do with a probability of 2^-49; so
//! equal hashes are taken for equal keys where no record is at hand, and compared with the record where one is read.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// Hashes keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher([u8; 16]);

/// Is what a key hashes to.
pub type KeyHash = u128;

impl KeyHasher {
    /// Hashes under this secret.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// Hashes a key.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(key);
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_keys_tell_hashes_apart() {
        let (one, other) = (KeyHasher::new([1; 16]), KeyHasher::new([2; 16]));
        assert_eq!(one.hash(b"k"), one.hash(b"k"));
        assert_ne!(one.hash(b"k"), one.hash(b"k\0"));
        assert_ne!(one.hash(b"k"), other.hash(b"k"));
    }
}
