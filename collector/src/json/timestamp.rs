//! Times as RFC 3339, UTC, milliseconds. Records come in order of time, so the part down to the second is kept.

use jiff::Timestamp;

/// First and last second that RFC 3339 can say: the year 0000, and what `jiff` takes for the end of 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_207_200;

/// Formats times, the last second remembered.
pub(super) struct Clock {
    second: i64,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ` of the last time formatted.
    text: [u8; 24],
}

impl Default for Clock {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl Clock {
    /// Formats a time in ms since 1970; one that RFC 3339 cannot say becomes the nearest it can.
    pub(super) fn format(&mut self, timestamp_ms: i64) -> &[u8] {
        let first_ms = SECONDS.start() * 1000;
        let last_ms = SECONDS.end() * 1000 + 999;
        let timestamp_ms = timestamp_ms.clamp(first_ms, last_ms);
        let (second, millis) = (timestamp_ms.div_euclid(1000), timestamp_ms.rem_euclid(1000) as u16);
        if second != self.second {
            let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            self.text[..20].copy_from_slice(&time.to_string().as_bytes()[..20]);
            self.text[19] = b'.';
            self.second = second;
        }
        let digit = |of: u16| b'0' + (of % 10) as u8;
        self.text[20..23].copy_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis)]);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let mut clock = Clock::default();
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (i64::MAX, "9999-12-30T22:00:00.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ];
        for (ms, expected) in cases {
            assert_eq!(clock.format(ms), expected.as_bytes(), "{ms}");
        }
    }
}
