//! Files that are missing or changed, made again.

use skidway_wire::SinkFinding;

use super::{Auditor, Step, Stop, groups};

impl Auditor {
    /// Reads all files and makes those again that are not what was decided.
    pub(super) async fn repair(&mut self) -> Step<()> {
        let bad = self.verify(true).await?;
        for mut group in groups(self.manifest().await?) {
            self.is_heard()?;
            let Some(topic) = group.cuts().next().map(|(shard, ..)| shard.topic_id) else { continue };
            let found = |path| bad.get_key_value(&(path, topic));
            let (paths, in_the_way): (Vec<String>, Vec<_>) =
                group.files().into_keys().filter_map(found).map(|((path, _), there)| (path.clone(), there)).unzip();
            if paths.is_empty() {
                continue;
            }
            // Before anything is removed: what is damaged may still be of use.
            if let Err(failure) = group.prepare(&self.rooms.log, &self.spool).await {
                let reason = failure.into_reason();
                for path in paths {
                    self.tell(SinkFinding::Beyond { path, reason: reason.clone() }).await?;
                }
                continue;
            }
            for path in in_the_way.into_iter().flatten() {
                let (path, url) = (path.clone(), self.place.config.destination.to_string());
                let removed = self.with_store(move |store| store.remove(&path)).await;
                removed.map_err(|error| Stop::Failed(format!("a file in {url} cannot be removed: {error}")))?;
            }
            let published = group.publish(&self.place.store).await;
            published.map_err(|failure| Stop::Failed(failure.into_reason()))?;
            for path in paths {
                self.summary.problems = self.summary.problems.saturating_sub(1);
                self.summary.written += 1;
                self.tell(SinkFinding::Repaired { path }).await?;
            }
        }
        Ok(())
    }
}
