//! Says how far a partition's log start moves by its topic's retention. Pure. Whole segments only, by the time of their appends.

use crate::commit::TopicConfig;
use crate::extent::Extent;

/// Gives the new log start, if any segment is too old or too much. The last segment goes only by age, when all of it is too old.
pub(crate) fn new_log_start(segments: &[Extent], next_offset: u64, config: &TopicConfig, now_ms: i64) -> Option<u64> {
    if !config.cleanup.deletes() {
        return None;
    }
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut log_start = None;
    for (place, segment) in segments.iter().enumerate() {
        let next = segments.get(place + 1);
        let too_old = config.retention_age_ms.is_some_and(|age_ms| {
            let age = now_ms.saturating_sub(segment.last_append_ms);
            u64::try_from(age).is_ok_and(|age| age > age_ms)
        });
        let rest = bytes - segment.bytes;
        let too_much = next.is_some() && config.retention_bytes.is_some_and(|max| rest >= max);
        if !too_old && !too_much {
            break;
        }
        log_start = Some(next.map_or(next_offset, |next| next.base_offset));
        bytes = rest;
    }
    log_start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Cleanup;

    fn segment(base_offset: u64, bytes: u64, last_append_ms: i64) -> Extent {
        Extent { bytes, last_append_ms, ..Extent::empty(base_offset, 0) }
    }

    #[test]
    fn whole_segments_go_by_age_of_append_and_by_bytes() {
        let segments = [segment(0, 100, 10), segment(50, 100, 20), segment(90, 100, 30)];
        for (age_ms, max_bytes, now_ms, expected) in [
            (None, None, 1_000_000, None),
            (Some(100), None, 110, None),
            (Some(100), None, 111, Some(50)),
            (Some(100), None, 130, Some(90)),
            (Some(100), None, 131, Some(120)),
            (None, Some(201), 0, None),
            (None, Some(200), 0, Some(50)),
            (None, Some(1), 0, Some(90)),
            (Some(100), Some(100), 111, Some(90)),
            (Some(100), None, 0, None),
        ] {
            let mut config =
                TopicConfig { retention_age_ms: age_ms, retention_bytes: max_bytes, ..TopicConfig::default() };
            assert_eq!(new_log_start(&segments, 120, &config, now_ms), expected, "{age_ms:?} {max_bytes:?} {now_ms}");
            config.cleanup = Cleanup::CompactDelete;
            assert_eq!(new_log_start(&segments, 120, &config, now_ms), expected);
            config.cleanup = Cleanup::Compact;
            assert_eq!(new_log_start(&segments, 120, &config, now_ms), None, "a compacted topic keeps last values");
        }
        let config = TopicConfig { retention_age_ms: Some(1), retention_bytes: Some(1), ..TopicConfig::default() };
        assert_eq!(new_log_start(&[], 120, &config, 1_000), None);
    }
}
