//! From decided to published: a cut's files are taken from the spool, or made again from the log if the spool is not this run's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::again::make_again;
use super::config::Layout;
use super::decisions::{Cut, Decision, Intent, Shard};
use super::file::{Finished, digests};
use super::manifest::Entry;
use super::parquet::digest;
use super::rows::Format;
use super::store::{Published, Store};
use crate::blocking::blocking;
use crate::log::Log;

/// Files of a group that are published at once: some storages take half a second for each.
const SIDE_BY_SIDE: usize = 4;

/// Says why a group is not published.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may be later.
    Trouble(String),
    /// Of one of its cuts it never will be: the records are not there any more.
    Gone {
        /// Which.
        at: usize,
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// Gives why, in words.
    pub(super) fn into_reason(self) -> String {
        let (Self::Trouble(reason) | Self::Gone { reason, .. }) = self;
        reason
    }
}

/// Is what is decided at once and published at once: a cut of one partition, or of all that are merged.
#[derive(Debug)]
pub(super) struct Group {
    cuts: Vec<Member>,
    /// Paths of its files that are published.
    published: BTreeSet<String>,
}

#[derive(Debug)]
struct Member {
    shard: Shard,
    cut: Cut,
    /// Its files in the spool; `None`: they have to be made again.
    spooled: Option<Vec<Finished>>,
}

impl Group {
    /// Groups cuts whose files are in the spool.
    pub(super) fn new(cuts: Vec<(Shard, Cut, Vec<Finished>)>) -> Self {
        let member = |(shard, cut, spooled)| Member { shard, cut, spooled: Some(spooled) };
        Self { cuts: cuts.into_iter().map(member).collect(), published: BTreeSet::new() }
    }

    /// Groups the cuts of an earlier run as they were decided: those of a topic that were merged, each of the others by itself.
    pub(super) fn decided(pending: impl IntoIterator<Item = (Shard, Cut)>) -> Vec<Self> {
        let (mut merged, mut alone) = (BTreeMap::<_, Vec<Member>>::new(), Vec::new());
        for (shard, cut) in pending {
            let at = cut.merged_at.map(|position| (shard.topic_id, position));
            let member = Member { shard, cut, spooled: None };
            match at {
                Some(at) => merged.entry(at).or_default().push(member),
                None => alone.push(vec![member]),
            }
        }
        let group = |cuts| Self { cuts, published: BTreeSet::new() };
        alone.into_iter().chain(merged.into_values()).map(group).collect()
    }

    /// Gives its cuts, with the bytes of each of their files once it is published.
    pub(super) fn cuts(&self) -> impl Iterator<Item = (&Shard, &Cut, Vec<u64>)> {
        let bytes = |member: &Member| member.spooled.iter().flatten().map(|file| file.bytes).collect();
        self.cuts.iter().map(move |member| (&member.shard, &member.cut, bytes(member)))
    }

    /// Says of each cut that it is published, for the decisions and for the manifest.
    pub(super) fn done(&self, sink: &str, at_ms: i64) -> (Vec<Decision>, Vec<Entry>) {
        let done = |(shard, cut, bytes): (&Shard, &Cut, Vec<u64>)| {
            let total = bytes.iter().sum();
            let decision = Decision::Done { shard: shard.clone(), to: cut.to, bytes: total, at_ms };
            (decision, Entry::published(sink, shard, cut, bytes, at_ms))
        };
        self.cuts().map(done).unzip()
    }

    /// Gives the parts of each of its files, in the order in which they are in it, with their places in the spool.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<(Intent, PathBuf)>> {
        let mut files: BTreeMap<String, Vec<(Intent, PathBuf)>> = BTreeMap::new();
        for member in &self.cuts {
            let mut spooled = member.spooled.iter().flatten().map(|file| file.path.clone());
            for intent in &member.cut.files {
                let part = (intent.clone(), spooled.next().unwrap_or_default());
                files.entry(intent.path()).or_default().push(part);
            }
        }
        files
    }

    /// Leaves a cut out: its records are not there any more.
    pub(super) fn leave_out(&mut self, at: usize) {
        self.cuts.remove(at);
    }

    /// Forgets its files in the spool: they are deleted.
    pub(super) fn leave_spool(&mut self) {
        self.cuts.iter_mut().for_each(|member| member.spooled = None);
    }

    /// Makes files again that are not in the spool.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn prepare(&mut self, log: &Arc<dyn Log>, spool: &Path) -> Result<(), Failure> {
        for (at, member) in self.cuts.iter_mut().enumerate() {
            if member.spooled.is_none() {
                let again = make_again(log, spool, &member.shard, &member.cut).await;
                member.spooled = Some(again.map_err(|failure| failure.of(at))?);
            }
        }
        Ok(())
    }

    /// Publishes its files, which are prepared; a later try goes on where this one ended.
    ///
    /// # Errors
    /// [`Failure::Trouble`].
    pub(super) async fn publish(&mut self, store: &Arc<dyn Store>) -> Result<(), Failure> {
        let Some(first) = self.cuts.first() else { return Ok(()) };
        let layout = Arc::new(Layout::of(&first.cut.recipe).map_err(Failure::Trouble)?);
        let mut files = self.files();
        files.retain(|path, _| !self.published.contains(path));
        let publish = move |(path, parts): (String, Vec<(Intent, PathBuf)>)| {
            let (store, layout) = (store.clone(), layout.clone());
            blocking(move || {
                let published = publish_file(&*store, &parts, &layout);
                (path, published)
            })
        };
        let results: Vec<_> = stream::iter(files).map(publish).buffer_unordered(SIDE_BY_SIDE).collect().await;
        let mut trouble = None;
        for (path, result) in results {
            match result {
                Ok(()) => _ = self.published.insert(path),
                Err(error) => trouble = Some(format!("{path} cannot be published: {error}")),
            }
        }
        trouble.map_or(Ok(()), |trouble| Err(Failure::Trouble(trouble)))
    }
}

/// Publishes a file under its name; under another one if a file with other rows has that, which a topic of that name left that is gone.
fn publish_file(store: &dyn Store, parts: &[(Intent, PathBuf)], layout: &Layout) -> io::Result<()> {
    let Some((intent, _)) = parts.first() else { return Ok(()) };
    let intents: Vec<&Intent> = parts.iter().map(|(intent, _)| intent).collect();
    let spooled = joined(store.spool(), parts)?;
    for path in paths(intent) {
        match store.publish(&spooled, &path)? {
            Published::New => {}
            Published::Exists if is_same(store, &path, &intents, (layout, &spooled.with_extension("published")))? => {}
            Published::Exists => {
                tracing::warn!(path, "another file has this name and other rows");
                continue;
            }
        }
        // What is left: the parts of a merged file, and a file that a try published which failed after that.
        let left = parts.iter().map(|(_, part)| part).chain([&spooled]);
        left.for_each(|path| _ = std::fs::remove_file(path));
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "other files have both its names"))
}

/// Gives the path that a file has, and the one that it has if another file had that.
pub(super) fn paths(intent: &Intent) -> [String; 2] {
    // A topic's name may have dots.
    let (start, last) = intent.name.rsplit_once('+').unwrap_or(("", &intent.name));
    let (last, ending) = last.split_once('.').unwrap_or((last, ""));
    let second = Intent { name: format!("{start}+{last}+{}.{ending}", &intent.digest[..8]), ..intent.clone() };
    [intent.path(), second.path()]
}

/// Gives a file of all parts: compressed texts one after the other are the compressed text of all, in gzip as in zstd.
fn joined(spool: &Path, parts: &[(Intent, PathBuf)]) -> io::Result<PathBuf> {
    if let [(_, only)] = parts {
        return Ok(only.clone());
    }
    let path = spool.join(format!("merged-{}", parts[0].0.name));
    let mut file = File::create(&path)?;
    for (_, part) in parts {
        io::copy(&mut File::open(part)?, &mut file)?;
    }
    file.sync_all()?;
    Ok(path)
}

/// Tells whether a published file holds the rows that were decided: then an earlier run published it. What has to be read from its end is
/// copied to `copy` first.
///
/// # Errors
/// It cannot be read now: whether it does is not known. Bytes that are no rows of ours are no error.
pub(super) fn is_same(
    store: &dyn Store,
    path: &str,
    parts: &[&Intent],
    (layout, copy): (&Layout, &Path),
) -> io::Result<bool> {
    let mut file = Noting { file: store.read(path)?, error: None };
    let found = if layout.format == Format::Parquet {
        let copied = File::create(copy).and_then(|mut to| io::copy(&mut file, &mut to)).and_then(|_| File::open(copy));
        let found = copied.map(|copied| digest(copied).map(|digest| vec![digest]));
        let _left = std::fs::remove_file(copy);
        found?
    } else {
        let row_bytes: Vec<u64> = parts.iter().map(|part| part.row_bytes).collect();
        digests(&mut file, layout.compression, &row_bytes)
    };
    match file.error {
        Some(error) => Err(error),
        None => Ok(found.is_ok_and(|found| found.iter().eq(parts.iter().map(|part| &part.digest)))),
    }
}

/// Reads, and notes that it could not: decompression makes one error of that and of bytes it does not know.
struct Noting {
    file: Box<dyn Read + Send>,
    error: Option<io::Error>,
}

impl Read for Noting {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read(out).map_err(|error| {
            let again = io::Error::from(error.kind());
            self.error = Some(error);
            again
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::decisions::Recipe;
    use crate::sink::rows::Compression;
    use crate::sink::store::LocalStore;

    /// Publishes a file of one row under `app/name+0+1.log`, once `before` has seen the folder; gives what is there then.
    fn publish(before: impl FnOnce(&Path)) -> (io::Result<()>, Vec<String>) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("app")).unwrap();
        before(&temp.path().join("app"));
        let store = LocalStore::new(temp.path(), "archive");
        store.open().unwrap();
        let spooled = store.spool().join("1");
        std::fs::write(&spooled, "row\n").unwrap();
        let intent = Intent {
            folder: "app".into(),
            name: "name+0+1.log".into(),
            first: 0,
            last: 1,
            records: 1,
            row_bytes: 4,
            digest: digests(&b"row\n"[..], Compression::None, &[4]).unwrap().concat(),
            continues: false,
        };
        let recipe = Recipe {
            path: "{topic}".into(),
            timezone: "UTC".into(),
            format: "raw".into(),
            compression: "none".into(),
            columns: Vec::new(),
            inline_json: false,
            time: "timestamp".into(),
            late: "keep".into(),
            fields: None,
        };
        let published = publish_file(&store, &[(intent, spooled)], &Layout::of(&recipe).unwrap());
        let mut names: Vec<String> = std::fs::read_dir(temp.path().join("app"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (published, names)
    }

    #[test]
    fn the_same_rows_are_there_already_and_others_keep_their_name() {
        let (published, names) = publish(|folder| std::fs::write(folder.join("name+0+1.log"), "row\n").unwrap());
        assert!(published.is_ok() && names == ["name+0+1.log"], "{published:?} {names:?}");
        let (published, names) = publish(|folder| std::fs::write(folder.join("name+0+1.log"), "other\n").unwrap());
        assert!(published.is_ok() && names.len() == 2, "{published:?} {names:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_now_is_not_taken_for_another() {
        // Its rows would be there twice if it were the one that was decided.
        let (published, names) = publish(|folder| std::fs::create_dir(folder.join("name+0+1.log")).unwrap());
        assert!(published.is_err() && names == ["name+0+1.log"], "{published:?} {names:?}");
    }
}
