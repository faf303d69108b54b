//! A place in a table that is being read, as text that readers keep and hand back.
//!
//! Pure. `k1.<partition>.<next offset>.<token>`: the token is that of the watermark, where the topic is read on once the table is at its end.

use skidway_record::{Offset, PartitionId};

/// Begins every place and numbers its format; no token begins like it.
const VERSION: &str = "k1";

/// Is a place in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlace {
    /// The partition being read; those before it are done.
    pub partition: PartitionId,
    /// Its next record is at this offset or later.
    pub next: Offset,
    /// Token at the watermark.
    pub watermark: String,
}

impl TablePlace {
    /// Writes the place as text, URL-safe.
    pub fn encode(&self) -> String {
        format!("{VERSION}.{}.{}.{}", self.partition, self.next, self.watermark)
    }

    /// Reads a place; `None` if it is not one that [`TablePlace::encode`] writes.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '.');
        if parts.next()? != VERSION {
            return None;
        }
        let (partition, next) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let watermark = parts.next().filter(|token| !token.is_empty())?.to_owned();
        Some(Self { partition: PartitionId(partition), next: Offset(next), watermark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_round_trip_and_nothing_else_is_one() {
        let place = TablePlace { partition: PartitionId(3), next: Offset(1 << 60), watermark: "t1abc".into() };
        assert_eq!(TablePlace::decode(&place.encode()), Some(place));
        for bad in ["", "k1", "t1abc", "k1.1.2", "k1.1.2.", "k1.-1.2.t", "k1.1.x.t", "k2.1.2.t"] {
            assert_eq!(TablePlace::decode(bad), None, "{bad}");
        }
    }
}
