//! Archives that cannot be decompressed to their end. What comes before the damage is shipped like any other line; once the archive has not
//! been written to for a while, the rest is recorded as lost, how much it was not being known.

use std::time::Duration;

use super::{FileSlot, Follow};

/// An archive that was written to within this time may yet be mended.
const MENDED_WITHIN: Duration = Duration::from_secs(60);

impl Follow {
    /// Records the loss of what cannot be decompressed, if it is time to; else looks again then.
    pub(super) fn settle_damage(&mut self, slot: FileSlot) {
        let Some(source) = self.sources.get(&slot) else { return };
        // Half a line before the damage is shipped first.
        let is_read = source.is_associated && !source.is_dirty && source.flush_after.is_none();
        let Some(damage) = source.file.damage().filter(|_| is_read && !source.file.is_damage_recorded()) else {
            return;
        };
        let Ok(stat) = source.file.stat_now() else { return };
        let mended_until = self.written_at(source, &stat).map_or(self.now, |written| written + MENDED_WITHIN);
        if self.now < mended_until {
            tracing::warn!(path = %source.path.display(), damage, "cannot be decompressed any further; waiting whether it is still written to");
            return self.timers.set(mended_until, slot);
        }
        let (path, position) = (source.path.display().to_string(), source.file.position());
        tracing::error!(
            path,
            position,
            damage,
            "damaged; what follows in it is lost, and how much that is is not known"
        );
        let Some(source) = self.sources.get_mut(&slot) else { return };
        source.file.record_damage();
        let lost = source.lose_the_rest(false, "the archive is damaged; what follows this position is not known");
        self.count_lost(lost);
    }
}
