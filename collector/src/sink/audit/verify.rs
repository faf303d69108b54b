//! The manifest against the storage and the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use skidway_record::{TopicName, TopicPartition};
use skidway_wire::SinkFinding;
use tokio::time::sleep;

use super::super::again::{NotAgain, make_again};
use super::super::config::Layout;
use super::super::decisions::{Cut, Intent, Recipe, Shard};
use super::super::file::Finished;
use super::super::manifest::{Entry, Manifest, What};
use super::super::publishing::paths;
use super::{Auditor, Step, Stop, has_rows};
use crate::blocking::blocking;

/// A file that nobody knows may just be published: it is known so much later.
const JUST_NOW: Duration = Duration::from_secs(2);

/// Is a file of the manifest: its parts, what made them, their bytes.
struct File<'a> {
    parts: Vec<&'a Intent>,
    recipe: &'a Recipe,
    bytes: u64,
    records: u64,
}

/// Names a file by its path and its topic: a topic that was created again may have files of the same names.
pub(super) type Whose = (String, [u8; 16]);

type Files<'a> = BTreeMap<Whose, File<'a>>;

/// Holds files that are missing or changed, with what has to go before they are made again.
pub(super) type Bad = BTreeMap<Whose, Option<String>>;

impl Auditor {
    /// Tells all that is wrong. Gives the files that are missing or changed.
    pub(super) async fn verify(&mut self, deep: bool) -> Step<Bad> {
        // In this order: what is published meanwhile is listed and not known, which is looked at again, and never known and missing.
        let manifest = self.manifest().await?;
        let listed = self.list().await?;
        self.holes(&manifest).await?;
        let files = files(&manifest);
        let (mut known, mut others) = (BTreeSet::new(), Vec::new());
        for (whose, file) in &files {
            self.is_heard()?;
            self.summary.files += 1;
            self.summary.records += file.records;
            self.summary.bytes += file.bytes;
            match self.look(file, &listed, deep || shares_its_name(&files, whose)).await? {
                Look::Same(path) => _ = known.insert(path),
                // It may be readable later: nothing to be mended.
                Look::Unreadable(path, reason) => {
                    known.insert(path.clone());
                    self.problem(SinkFinding::Unreadable { path, reason }).await?;
                }
                Look::Other(there) => others.push((whose, there)),
            }
        }
        let bad = self.bad(&files, others, &mut known).await?;
        drop(files);
        self.strangers(listed, &known, &manifest).await?;
        if deep {
            self.compare(&manifest).await?;
        }
        Ok(bad)
    }

    /// Tells which files are missing and which changed, once all others are known: what has a file's name may be another topic's.
    async fn bad(
        &mut self,
        files: &Files<'_>,
        others: Vec<(&Whose, Vec<String>)>,
        known: &mut BTreeSet<String>,
    ) -> Step<Bad> {
        let mut bad = Bad::new();
        for (whose, there) in others {
            let (path, topic) = whose;
            // The second name is this file's alone.
            let Some(changed) = there.into_iter().rev().find(|path| !known.contains(path)) else {
                bad.insert((path.clone(), *topic), None);
                self.problem(SinkFinding::Missing { path: path.clone() }).await?;
                continue;
            };
            known.insert(changed.clone());
            // Whose a damaged file is that two topics have a name for, nobody knows: it stays.
            let is_its_own = changed != *path || !shares_its_name(files, whose);
            bad.insert((path.clone(), *topic), is_its_own.then(|| changed.clone()));
            self.problem(SinkFinding::Changed { path: changed }).await?;
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
                // Others may keep any number of files there.
                let mut keep = |path: &str, bytes| {
                    if parse(path).is_some() {
                        found.insert(path.to_owned(), bytes);
                    }
                };
                store.list(&mut keep).map(|()| found)
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

    /// Looks at one file: its size, and its rows if that differs or they are to be read.
    async fn look(&mut self, file: &File<'_>, listed: &HashMap<String, u64>, reads: bool) -> Step<Look> {
        let names = file.parts.first().map(|part| paths(part)).into_iter().flatten();
        let there: Vec<String> = names.filter(|path| listed.contains_key(path)).collect();
        if !reads && let Some(path) = there.iter().find(|path| listed[*path] == file.bytes) {
            return Ok(Look::Same(path.clone()));
        }
        for path in &there {
            self.summary.read += 1;
            let layout = Layout::of(file.recipe).map_err(Stop::Failed)?;
            let parts: Vec<Intent> = file.parts.iter().copied().cloned().collect();
            let (path, spool) = (path.clone(), self.spool.clone());
            let same = self.with_store(move |store| (has_rows(store, &spool, &path, &parts, &layout), path));
            match same.await {
                (Ok(true), path) => return Ok(Look::Same(path)),
                (Ok(false), _) => {}
                (Err(error), path) => return Ok(Look::Unreadable(path, error.to_string())),
            }
        }
        Ok(Look::Other(there))
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
            let manifest = self.manifest().await?;
            let published = manifest.values().flat_map(BTreeMap::values).flat_map(Entry::files);
            let known = published.map(|(intent, _)| intent).chain(&pending);
            known.flat_map(paths).for_each(|path| _ = strangers.remove(&path));
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
        self.is_heard()?;
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
    Unreadable(String, String),
    /// What has one of its names, if anything, is not it.
    Other(Vec<String>),
}

fn files(manifest: &Manifest) -> Files<'_> {
    let mut files = Files::new();
    for (shard, entries) in manifest {
        for entry in entries.values() {
            let Some(cut) = entry.cut() else { continue };
            for (intent, bytes) in entry.files() {
                let none = File { parts: Vec::new(), recipe: &cut.recipe, bytes: 0, records: 0 };
                let file = files.entry((intent.path(), shard.topic_id)).or_insert(none);
                file.parts.push(intent);
                file.bytes += bytes;
                file.records += intent.records;
            }
        }
    }
    files
}

/// Tells whether files of several topics of one name have this name: then its size does not say whose it is.
fn shares_its_name(files: &Files<'_>, (path, _): &Whose) -> bool {
    files.range((path.clone(), [0; 16])..=(path.clone(), [0xff; 16])).count() > 1
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
