//! Zig-zag variable-length integers, as Kafka's record format and Protocol Buffers write them.
//!
//! Pure. A value takes 1 to 10 bytes, 7 bits each, least significant first.

/// Appends `value`.
#[inline]
pub fn write(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// Tells how many bytes [`write`] appends for `value`.
#[inline]
pub fn len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (70 - (zigzag | 1).leading_zeros() as usize) / 7
}

/// Takes one value off the front of `input`; `None` if it is cut short or longer than 64 bits.
#[inline]
pub fn read(input: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        zigzag |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_round_trips(value: i64) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            prop_assert_eq!(bytes.len(), len(value));
            let mut input = bytes.as_slice();
            prop_assert_eq!(read(&mut input), Some(value));
            prop_assert!(input.is_empty());
        }
    }

    #[test]
    fn cut_and_overlong_values_are_refused() {
        for bad in [&[][..], &[0x80], &[0xff; 10], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]] {
            assert_eq!(read(&mut &bad[..]), None, "{bad:?}");
        }
    }
}
