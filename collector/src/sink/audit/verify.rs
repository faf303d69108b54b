//! The manifest against the storage and the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use skidway_record::{TopicName, TopicPartition};
use skidway_wire::SinkFinding;
use tokio::time::sleep;

use super::super::again::{NotAgain, make_again};
use super::super::config::Layout;
use super::super::decisions::{Cut, Intent, Shard};
use super::super::file::Finished;
use super::super::manifest::{Manifest, What};
use super::super::publishing::paths;
use super::{Auditor, Step, Stop, has_rows};
use crate::blocking::blocking;

/// A file that nobody knows may just be published: it is known so much later.
const JUST_NOW: Duration = Duration::from_secs(2);

/// Is a file of the manifest: its parts, what made them, their bytes.
struct File {
    parts: Vec<Intent>,
    layout: Layout,
    bytes: u64,
    records: u64,
}

/// Files by path and topic: a topic that was created again may have files of the same names.
type Files = BTreeMap<(String, [u8; 16]), File>;

impl Auditor {
    /// Tells all that is wrong. Gives the paths of files that are missing or changed.
    pub(super) async fn verify(&mut self, deep: bool) -> Step<BTreeSet<String>> {
        let listed = self.list().await?;
        let manifest = self.manifest().await?;
        self.holes(&manifest).await?;
        let (mut known, mut bad) = (BTreeSet::new(), BTreeSet::new());
        for ((path, _), file) in files(&manifest)? {
            self.summary.files += 1;
            self.summary.records += file.records;
            self.summary.bytes += file.bytes;
            match self.look(&file, &listed, deep).await {
                Look::Same(path) => _ = known.insert(path),
                Look::Changed(path) => {
                    known.insert(path.clone());
                    bad.insert(path.clone());
                    self.problem(SinkFinding::Changed { path }).await?;
                }
                // It may be readable later: nothing to be mended.
                Look::Unreadable(path, reason) => {
                    known.insert(path.clone());
                    self.problem(SinkFinding::Unreadable { path, reason }).await?;
                }
                Look::Missing => {
                    bad.insert(path.clone());
                    self.problem(SinkFinding::Missing { path }).await?;
                }
            }
        }
        self.strangers(listed, &known, &manifest).await?;
        if deep {
            self.compare(&manifest).await?;
        }
        Ok(bad)
    }

    async fn problem(&mut self, finding: SinkFinding) -> Step<()> {
        self.summary.problems += 1;
        self.tell(finding).await
    }

    async fn list(&self) -> Step<HashMap<String, u64>> {
        let listed = self
            .with_store(|store| {
                let mut found = HashMap::new();
                store.list(&mut |path, bytes| _ = found.insert(path.to_owned(), bytes)).map(|()| found)
            })
            .await;
        listed.map_err(|error| Stop::Failed(format!("{} cannot be listed: {error}", self.place.config.destination)))
    }

    /// Tells of offsets that nothing accounts for, and of those that are known to be in no file.
    async fn holes(&mut self, manifest: &Manifest) -> Step<()> {
        for (shard, entries) in manifest {
            let (topic, partition) = (shard.topic.to_string(), shard.partition);
            let mut next: Option<u64> = None;
            for entry in entries.values() {
                let (from, to) = entry.span();
                if let Some(end) = next.filter(|end| *end < from) {
                    self.problem(SinkFinding::Hole { topic: topic.clone(), partition, from: end, to: from }).await?;
                }
                if let What::Gap { reason, .. } = &entry.what {
                    let (topic, reason) = (topic.clone(), reason.clone());
                    self.tell(SinkFinding::Gap { topic, partition, from, to, reason }).await?;
                }
                next = Some(next.map_or(to, |end| end.max(to)));
            }
        }
        Ok(())
    }

    /// Looks at one file: its size, and its rows if that differs or all are to be read.
    async fn look(&mut self, file: &File, listed: &HashMap<String, u64>, deep: bool) -> Look {
        let there: Vec<String> =
            file.parts.first().map(paths).into_iter().flatten().filter(|path| listed.contains_key(path)).collect();
        if !deep && let Some(path) = there.iter().find(|path| listed[*path] == file.bytes) {
            return Look::Same(path.clone());
        }
        for path in &there {
            self.summary.read += 1;
            let (path, parts, layout) = (path.clone(), file.parts.clone(), file.layout.clone());
            let spool = self.spool.clone();
            let same = self.with_store(move |store| (has_rows(store, &spool, &path, &parts, &layout), path));
            match same.await {
                (Ok(true), path) => return Look::Same(path),
                (Ok(false), _) => {}
                (Err(error), path) => return Look::Unreadable(path, error.to_string()),
            }
        }
        there.into_iter().next().map_or(Look::Missing, Look::Changed)
    }

    /// Tells of files with names such as ours that nobody knows.
    async fn strangers(
        &mut self,
        listed: HashMap<String, u64>,
        known: &BTreeSet<String>,
        manifest: &Manifest,
    ) -> Step<()> {
        let oldest = oldest(manifest);
        let is_ours = |path: &str| {
            let Some((topic, last)) = parse(path) else { return false };
            // What is older than the manifest is not in it.
            let is_told = oldest.get(topic.as_str()).is_some_and(|oldest| last >= *oldest);
            self.place.config.takes(&topic) && is_told
        };
        let mut strangers: BTreeMap<String, u64> =
            listed.into_iter().filter(|(path, _)| !known.contains(path) && is_ours(path)).collect();
        if !strangers.is_empty() {
            sleep(JUST_NOW).await;
            let pending = self.rooms.board.desk(&self.place.config.name).map(|desk| desk.pending()).unwrap_or_default();
            let files = files(&self.manifest().await?)?;
            let known = files.into_values().flat_map(|file| file.parts).chain(pending);
            known.flat_map(|intent| paths(&intent)).for_each(|path| _ = strangers.remove(&path));
        }
        for (path, bytes) in strangers {
            self.problem(SinkFinding::Unknown { path, bytes }).await?;
        }
        Ok(())
    }

    /// Makes every cut again that the log still has, and compares its rows with what was decided.
    async fn compare(&mut self, manifest: &Manifest) -> Step<()> {
        let log = self.rooms.log.clone();
        for (shard, entries) in manifest {
            let of = TopicPartition::new(shard.topic.clone(), shard.partition);
            let is_there = log.topic(&shard.topic).is_some_and(|topic| topic.id == shard.topic_id);
            let Some(start) = log.offsets(&of).ok().filter(|_| is_there).map(|offsets| offsets.log_start.0) else {
                continue;
            };
            for cut in entries.values().filter_map(|entry| entry.cut()).filter(|cut| cut.from >= start) {
                self.compare_one(shard, cut).await?;
            }
        }
        Ok(())
    }

    async fn compare_one(&mut self, shard: &Shard, cut: &Cut) -> Step<()> {
        match make_again(&self.rooms.log, &self.spool, shard, cut).await {
            Ok(made) => {
                blocking(move || made.iter().for_each(Finished::discard)).await;
                self.summary.compared_records += cut.files.iter().map(|file| file.records).sum::<u64>();
                Ok(())
            }
            Err(NotAgain::Differs(reason)) => {
                let (topic, partition) = (shard.topic.to_string(), shard.partition);
                self.problem(SinkFinding::Differs { topic, partition, from: cut.from, to: cut.to, reason }).await
            }
            // Retention was faster.
            Err(NotAgain::Gone(_)) => Ok(()),
            Err(NotAgain::Trouble(trouble)) => Err(Stop::Failed(trouble)),
        }
    }
}

enum Look {
    Same(String),
    Changed(String),
    Unreadable(String, String),
    Missing,
}

fn files(manifest: &Manifest) -> Step<Files> {
    let mut files = Files::new();
    for (shard, entries) in manifest {
        for entry in entries.values() {
            let Some(cut) = entry.cut() else { continue };
            for (intent, bytes) in entry.files() {
                let layout = Layout::of(&cut.recipe).map_err(Stop::Failed)?;
                let file = files.entry((intent.path(), shard.topic_id)).or_insert(File {
                    parts: Vec::new(),
                    layout,
                    bytes: 0,
                    records: 0,
                });
                file.parts.push(intent.clone());
                file.bytes += bytes;
                file.records += intent.records;
            }
        }
    }
    Ok(files)
}

/// Gives the first position in the manifest that a file's name may say, by topic.
fn oldest(manifest: &Manifest) -> BTreeMap<&str, u64> {
    let mut oldest = BTreeMap::new();
    for (shard, entries) in manifest {
        let first = entries.values().filter_map(|entry| Some(entry.cut()?.merged_at.unwrap_or(entry.span().0))).min();
        let Some(first) = first else { continue };
        oldest.entry(shard.topic.as_str()).and_modify(|oldest: &mut u64| *oldest = first.min(*oldest)).or_insert(first);
    }
    oldest
}

/// Reads the topic and the last offset from a name such as a sink gives.
fn parse(path: &str) -> Option<(TopicName, u64)> {
    let name = path.rsplit('/').next()?;
    let mut parts = name.split('+');
    let (topic, _partition, first, last) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    first.parse::<u64>().ok()?;
    let last = last.split('.').next()?.parse().ok()?;
    Some((TopicName::new(topic).ok()?, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        for (path, expected) in [
            ("app/dt=1/app+0+0000000010+0000000019.ndjson.gz", Some(("app", 19))),
            ("a.b+all+0+7.log", Some(("a.b", 7))),
            ("app+0+0+7+deadbeef.log", Some(("app", 7))),
            ("app/notes.txt", None),
            ("app+0+x+7.log", None),
        ] {
            let found = parse(path);
            assert_eq!(found.as_ref().map(|(topic, last)| (topic.as_str(), *last)), expected, "{path}");
        }
    }
}
