//! Which stored source is which file on disk: one pure function, so that its whole behaviour is a table.
//!
//! A source goes on in a file only if head and anchor are both there. In this order:
//!
//! 0. this process read the file as this source before the session was opened anew;
//! 1. the file has the source's device, inode and birth time;
//! 2. it has its inode and birth time, on a device with another number (a file system mounted anew);
//! 3. it is a copy: its first 4 KiB and the 1 KiB before the position match this one source, and no other file does.
//!
//! 4. it is a copy by name: it is named as a rotated copy of the source's file, which is there with other bytes (it was truncated), and
//!    head and anchor match this one source, however short they are; or that file is gone, and at least 1 KiB was read of it;
//!
//! 5. it is an archive by name: it is named as a compressed copy of the source's file, which is gone, and head and anchor match this one
//!    source in the decompressed bytes, however short they are. The file it was made of is not there.
//!
//! Of several copies by name, which begin alike as far as the source was read, the oldest goes on: truncated more than once, that is where
//! the bytes went first. The others are files of their own. Of several sources that a copy by name matches, the one read farthest goes on in
//! it, and none does if that one has a file already: many files begin alike.
//!
//! Else it is a new source. A source stays without a file if none is left for it. Shorter heads alone never make a copy: many files
//! begin alike, and a wrong guess would lose lines, where a missed one at worst ships a copied file as what it is, another file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use skidway_record::SourceId;
use skidway_record::source::{FINGERPRINT_BYTES_MAX, Fingerprint, PhysicalId, StoredSource};

use crate::discover::copies::{may_be_archive, may_be_copy, unpacked};
use crate::flow::fingerprint::{ANCHOR_BYTES_MAX, Evidence, is_blank};

/// Holds what matching needs to know of a file on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The file.
    pub physical: PhysicalId,
    /// Name of the input it belongs to.
    pub input: &'a str,
    /// Where it was found.
    pub path: &'a Path,
    /// The source that this process took it for in the session before.
    pub before: Option<SourceId>,
}

/// Says what becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on with this stored source, by its index.
    Resume(usize, Reason),
    /// It is a new source.
    Create {
        /// The source that had this file before.
        supersedes: Option<SourceId>,
        /// Why it is not that one any more, or why it is new.
        reason: Reason,
    },
}

/// Says why, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// This process read it as this source before, and head and anchor match.
    Known,
    /// Same device, inode, birth time, head and anchor.
    SameFile,
    /// Same inode, birth time, head and anchor on another device number.
    SameFileRemounted,
    /// Head and anchor match one source and one file only.
    Copy,
    /// Nothing stored fits.
    Unknown,
    /// The file is shorter than what was read of it.
    Truncated,
    /// It has the identity, but other bytes.
    Rewritten,
}

impl Reason {
    /// Gives the reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Known => "it was this source's before the session, head and anchor match",
            Self::SameFile => "same file, head and anchor match",
            Self::SameFileRemounted => "same inode, head and anchor on another device number",
            Self::Copy => "the only file with this head and anchor",
            Self::Unknown => "no source fits it",
            Self::Truncated => "it is shorter than what was read of it",
            Self::Rewritten => "its inode is known but its bytes are others",
        }
    }
}

/// Says what a file on disk begins with and how it compares with sources.
pub trait Witness {
    /// Gives the hashes of the first bytes of file `file`, for each of these numbers of them, as far as it has so many.
    fn heads(&mut self, file: usize, lens: &BTreeSet<u32>) -> Vec<Fingerprint>;

    /// Answers how file `file` compares with a source.
    fn compare(&mut self, file: usize, stored: &StoredSource) -> Evidence;
}

/// Decides for every file. `witness` is asked only where identity, or a first look at each file, makes it worth it.
pub fn associate(stored: &[StoredSource], files: &[Candidate<'_>], witness: &mut impl Witness) -> Vec<Verdict> {
    let mut matching = Matching::new(stored, files, witness);
    matching.match_known();
    matching.match_identity(same_file, Reason::SameFile);
    matching.match_identity(any_device, Reason::SameFileRemounted);
    matching.match_copies(&by_full_head(stored, &matching.free), |_, _| true, Among::Only);
    // An archive beside the file it was made of, which is new too, is that file's, whatever it holds.
    let names: HashSet<&Path> = matching.open.iter().map(|&file| files[file].path).collect();
    let is_anothers = |file: &Candidate<'_>| unpacked(file.path).is_some_and(|path| names.contains(path.as_path()));
    let is_copy = |file: &Candidate<'_>, of: &StoredSource| may_be_copy(file.path, path_of(of)) && !is_anothers(file);
    matching.match_copies(&by_truncation(stored, files, &matching.free), is_copy, Among::Oldest);
    let gone = by_absence(stored, files, &matching.free).into_iter();
    let well_known: Vec<usize> = gone.filter(|&it| stored[it].position >= ANCHOR_BYTES_MAX as u64).collect();
    matching.match_copies(&well_known, is_copy, Among::Oldest);
    let is_archive =
        |file: &Candidate<'_>, of: &StoredSource| may_be_archive(file.path, path_of(of)) && !is_anothers(file);
    matching.match_copies(&by_absence(stored, files, &matching.free), is_archive, Among::Oldest);
    matching.say_why_not();
    matching.verdicts
}

/// Says which of several files that match a source goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    /// None does: only one that is alone.
    Only,
    /// The one that was created first.
    Oldest,
}

/// Holds the decisions while they are made.
struct Matching<'m, W> {
    stored: &'m [StoredSource],
    files: &'m [Candidate<'m>],
    witness: &'m mut W,
    verdicts: Vec<Verdict>,
    /// Files without a source, by their index.
    open: Vec<usize>,
    /// Which sources are without a file.
    free: Vec<bool>,
}

impl<'m, W: Witness> Matching<'m, W> {
    fn new(stored: &'m [StoredSource], files: &'m [Candidate<'m>], witness: &'m mut W) -> Self {
        let verdicts = vec![Verdict::Create { supersedes: None, reason: Reason::Unknown }; files.len()];
        Self { stored, files, witness, verdicts, open: (0..files.len()).collect(), free: vec![true; stored.len()] }
    }

    fn match_known(&mut self) {
        let known = self.stored.iter().enumerate().map(|(index, stored)| (stored.source.id, index));
        let known: HashMap<SourceId, usize> = known.collect();
        for file in std::mem::take(&mut self.open) {
            let Candidate { input, before, .. } = self.files[file];
            let source = before.and_then(|id| known.get(&id).copied()).filter(|&source| self.free[source]);
            let source = source.filter(|&source| self.stored[source].source.input == input);
            match source.filter(|&source| self.witness.compare(file, &self.stored[source]) == Evidence::Same) {
                Some(source) => {
                    let is_same = self.stored[source].source.physical == self.files[file].physical;
                    let reason = if is_same { Reason::SameFile } else { Reason::Known };
                    (self.verdicts[file], self.free[source]) = (Verdict::Resume(source, reason), false);
                }
                None => self.open.push(file),
            }
        }
    }

    fn match_identity(&mut self, identity: fn(&PhysicalId) -> PhysicalId, reason: Reason) {
        let known = by_identity(self.stored, identity);
        for file in std::mem::take(&mut self.open) {
            let key = (self.files[file].input, identity(&self.files[file].physical));
            // The newest incarnation is asked first: those it superseded have its identity too.
            let mut sources = known.get(&key).into_iter().flatten().filter(|&&source| self.free[source]);
            match sources.find(|&&source| self.witness.compare(file, &self.stored[source]) == Evidence::Same) {
                Some(&source) => (self.verdicts[file], self.free[source]) = (Verdict::Resume(source, reason), false),
                None => self.open.push(file),
            }
        }
    }

    fn match_copies(
        &mut self,
        sources: &[usize],
        may_be: impl Fn(&Candidate<'_>, &StoredSource) -> bool,
        among: Among,
    ) {
        // Of thousands of each, only those that begin alike are compared.
        let (mut by_head, mut lens) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, BTreeSet<u32>>::new());
        for &source in sources {
            let of = &self.stored[source].source;
            by_head.entry((of.input.as_str(), of.head)).or_default().push(source);
            lens.entry(of.input.as_str()).or_default().insert(of.head.len);
        }
        let mut pairs = Vec::new();
        for &file in &self.open {
            let candidate = &self.files[file];
            let Some(lens) = lens.get(candidate.input) else { continue };
            let heads = self.witness.heads(file, lens);
            let alike = heads.iter().filter_map(|head| by_head.get(&(candidate.input, *head))).flatten();
            for &source in alike.filter(|source| may_be(candidate, &self.stored[**source])) {
                if self.witness.compare(file, &self.stored[source]) == Evidence::Same {
                    pairs.push((file, source));
                }
            }
        }
        match among {
            Among::Only => self.choose_only(&pairs),
            Among::Oldest => {
                let pairs = self.farthest(pairs, may_be);
                self.choose_oldest(&pairs);
            }
        }
        self.open.retain(|&file| !matches!(self.verdicts[file], Verdict::Resume(..)));
    }

    /// Resumes sources that match one file only, in files that match one source only.
    fn choose_only(&mut self, pairs: &[(usize, usize)]) {
        let (mut sources_of, mut files_of) = (HashMap::new(), HashMap::new());
        for (file, source) in pairs {
            *sources_of.entry(file).or_insert(0) += 1;
            *files_of.entry(source).or_insert(0) += 1;
        }
        for (file, source) in pairs.iter().filter(|(file, source)| sources_of[file] == 1 && files_of[source] == 1) {
            (self.verdicts[*file], self.free[*source]) = (Verdict::Resume(*source, Reason::Copy), false);
        }
    }

    /// Leaves each file only the source that was read farthest of those it matches; none if another matches it as well or better and has a
    /// file already. A source that a file was not left for is nobody's: what was read of it tells it from no other. Of sources of which the
    /// very same bytes were read and nothing else, any will do, and the one that the file is named after is the best.
    fn farthest(
        &mut self,
        pairs: Vec<(usize, usize)>,
        may_be: impl Fn(&Candidate<'_>, &StoredSource) -> bool,
    ) -> Vec<(usize, usize)> {
        let (stored, files) = (self.stored, self.files);
        let position = |source: usize| stored[source].position;
        let (mut left, mut doubtful) = (Vec::new(), HashSet::new());
        for &(file, source) in &pairs {
            let is_named =
                |source: usize| unpacked(files[file].path).is_some_and(|path| path == path_of(&stored[source]));
            let is_rival = |other: usize| other != source && position(other) >= position(source);
            let is_first = |other: usize| (!is_named(source), source) < (!is_named(other), other);
            let is_named_alone = |other: usize| is_named(source) && !is_named(other);
            let mut rivals = (0..stored.len()).filter(|&other| {
                is_rival(other)
                    && !self.free[other]
                    && !(are_alike(&stored[source], &stored[other]) && is_named_alone(other))
            });
            let is_better = |other: usize| {
                stored[other].source.input == files[file].input
                    && may_be(&files[file], &stored[other])
                    && self.witness.compare(file, &stored[other]) == Evidence::Same
            };
            let others = || pairs.iter().filter(|pair| pair.0 == file && is_rival(pair.1)).map(|pair| pair.1);
            let is_outdone = others().any(|other| !are_alike(&stored[source], &stored[other])) || rivals.any(is_better);
            if is_outdone {
                doubtful.insert(source);
            } else if others().all(is_first) {
                left.push((file, source));
            }
        }
        left.retain(|(_, source)| !doubtful.contains(source));
        left
    }

    /// Resumes each source in the oldest of the files that match it.
    fn choose_oldest(&mut self, pairs: &[(usize, usize)]) {
        let age = |file: usize| (self.files[file].physical.birth_ns, file);
        for &(file, source) in pairs {
            let is_older = |rival: &(usize, usize)| rival.1 == source && age(rival.0) < age(file);
            if !pairs.iter().any(is_older) {
                (self.verdicts[file], self.free[source]) = (Verdict::Resume(source, Reason::Copy), false);
            }
        }
    }

    fn say_why_not(&mut self) {
        let known = by_identity(self.stored, same_file);
        for &file in &self.open {
            let key = (self.files[file].input, self.files[file].physical);
            if let Some(&source) = known.get(&key).and_then(|sources| sources.first()) {
                let reason = match self.witness.compare(file, &self.stored[source]) {
                    Evidence::Shorter => Reason::Truncated,
                    _ => Reason::Rewritten,
                };
                self.verdicts[file] = Verdict::Create { supersedes: Some(self.stored[source].source.id), reason };
            }
        }
    }
}

fn same_file(physical: &PhysicalId) -> PhysicalId {
    *physical
}

/// Without a birth time an inode number alone says nothing across devices.
fn any_device(physical: &PhysicalId) -> PhysicalId {
    PhysicalId { device: if physical.birth_ns == 0 { physical.device } else { 0 }, ..*physical }
}

/// Groups sources by input and identity; those that no other source supersedes come first.
fn by_identity(
    stored: &[StoredSource],
    identity: fn(&PhysicalId) -> PhysicalId,
) -> HashMap<(&str, PhysicalId), Vec<usize>> {
    let superseded: Vec<SourceId> = stored.iter().filter_map(|it| it.source.supersedes).collect();
    let superseded: HashSet<SourceId> = superseded.into_iter().collect();
    let mut groups: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, it) in stored.iter().enumerate() {
        groups.entry((it.source.input.as_str(), identity(&it.source.physical))).or_default().push(index);
    }
    for group in groups.values_mut() {
        group.sort_by_key(|&index| superseded.contains(&stored[index].source.id));
    }
    groups
}

/// Finds the free sources whose bytes are evidence enough on their own.
fn by_full_head(stored: &[StoredSource], free: &[bool]) -> Vec<usize> {
    let full = FINGERPRINT_BYTES_MAX;
    let enough = |it: &StoredSource| {
        let is_full = it.source.head.len == full && it.anchor.len as usize >= ANCHOR_BYTES_MAX;
        is_full && it.position >= 2 * u64::from(full)
    };
    (0..stored.len()).filter(|&index| free[index] && enough(&stored[index]) && is_told(&stored[index])).collect()
}

/// Finds the free sources that were read in part and whose file is there, but is theirs no more.
fn by_truncation(stored: &[StoredSource], files: &[Candidate<'_>], free: &[bool]) -> Vec<usize> {
    let there: HashSet<PhysicalId> = files.iter().map(|file| file.physical).collect();
    let is_there = |it: &StoredSource| there.contains(&it.source.physical);
    (0..stored.len()).filter(|&index| free[index] && is_told(&stored[index]) && is_there(&stored[index])).collect()
}

/// Finds the free sources that were read in part and whose file is not there.
fn by_absence(stored: &[StoredSource], files: &[Candidate<'_>], free: &[bool]) -> Vec<usize> {
    let there: HashSet<PhysicalId> = files.iter().map(|file| file.physical).collect();
    let is_there = |it: &StoredSource| there.contains(&it.source.physical);
    (0..stored.len()).filter(|&index| free[index] && is_told(&stored[index]) && !is_there(&stored[index])).collect()
}

/// Tells whether anything was read of a source that its copy can be known by: not if the bytes before its position are lost, and in a hole
/// all files are alike.
fn is_told(stored: &StoredSource) -> bool {
    stored.position > 0 && stored.anchor.len > 0 && !is_blank(&stored.anchor)
}

/// Tells whether the very same bytes were read of two sources: both heads hold all of them.
fn are_alike(one: &StoredSource, other: &StoredSource) -> bool {
    let is_whole = one.position <= u64::from(one.source.head.len);
    is_whole && one.position == other.position && one.source.head == other.source.head
}

/// Gives the path a source's file was last known under.
pub fn path_of(stored: &StoredSource) -> &Path {
    Path::new(OsStr::from_bytes(&stored.source.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::fingerprint;
    use skidway_record::AgentId;
    use skidway_record::source::{NewSource, Partitioning};

    /// Bytes that differ everywhere from those of another seed, `len` of them.
    fn text(seed: u8, len: usize) -> Vec<u8> {
        (0..len).map(|at| seed ^ (at as u8).wrapping_mul(31) ^ (at >> 8) as u8).collect()
    }

    fn physical(device: u64, inode: u64, birth_ns: u64) -> PhysicalId {
        PhysicalId { device, inode, generation: 0, birth_ns }
    }

    /// A source of this number, of which all of `bytes` were read; found as `/l/a.log`.
    fn source(number: u8, physical: PhysicalId, bytes: &[u8]) -> StoredSource {
        StoredSource {
            source: NewSource {
                id: SourceId([number; 16]),
                input: "in".into(),
                topic: "t".parse().unwrap(),
                partitioning: Partitioning::File,
                physical,
                supersedes: None,
                head: fingerprint::head(bytes),
                path: "/l/a.log".into(),
            },
            agent: AgentId::new("a").unwrap(),
            partition: None,
            position: bytes.len() as u64,
            carry: Default::default(),
            anchor: fingerprint::anchor(bytes),
            gone_at_ms: None,
        }
    }

    fn superseding(older: u8, mut source: StoredSource) -> StoredSource {
        source.source.supersedes = Some(SourceId([older; 16]));
        source
    }

    type Disk = [(&'static str, PhysicalId, Vec<u8>)];

    /// Decides for the files of a disk; of archives the bytes are the decompressed ones.
    #[track_caller]
    fn check(case: &str, stored: &[StoredSource], disk: &Disk, expected: &[Verdict]) {
        let file = |(path, physical, _): &(&'static str, PhysicalId, Vec<u8>)| Candidate {
            physical: *physical,
            input: if path.starts_with("/other") { "other" } else { "in" },
            path: Path::new(*path),
            before: None,
        };
        let candidates: Vec<Candidate<'_>> = disk.iter().map(file).collect();
        let contents = disk.iter().map(|(_, _, bytes)| bytes.clone()).collect();
        assert_eq!(associate(stored, &candidates, &mut Contents(contents, 0)), expected, "{case}");
    }

    /// The files' bytes, and how often any was compared with a source.
    struct Contents(Vec<Vec<u8>>, usize);

    impl Contents {
        fn read(&self, file: usize) -> impl FnMut(&mut [u8], u64) -> std::io::Result<usize> + '_ {
            move |into, position| {
                let rest = self.0[file].get(position as usize..).unwrap_or_default();
                let len = rest.len().min(into.len());
                into[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
        }
    }

    impl Witness for Contents {
        fn heads(&mut self, file: usize, lens: &BTreeSet<u32>) -> Vec<Fingerprint> {
            fingerprint::heads(self.read(file), lens).unwrap()
        }

        fn compare(&mut self, file: usize, stored: &StoredSource) -> Evidence {
            self.1 += 1;
            fingerprint::compare(self.read(file), stored).unwrap()
        }
    }

    #[test]
    fn of_sources_of_which_the_same_bytes_were_read_any_goes_on_in_an_archive() {
        let (banner, whole) = (text(1, 80), text(1, 500));
        let named = |number: u8, path: &str| {
            let mut stored = source(number, physical(1, u64::from(number), 5), &banner);
            stored.source.path = path.to_owned().into();
            stored
        };
        let archive = |path| (path, physical(1, 20, 8), whole.clone());
        let copy = |source| Verdict::Resume(source, Reason::Copy);
        let (older, newer) = (named(1, "/l/a.log"), named(2, "/l/a.log-02"));
        let both = [older.clone(), newer.clone()];
        check("the one it is named after", &both, &[archive("/l/a.log-02.gz")], &[copy(1)]);
        check("any", &both, &[archive("/l/a.log-03.gz")], &[copy(0)]);
        let disk = [archive("/l/a.log-02.gz"), ("/l/b.log", physical(1, 1, 5), banner.clone())];
        check("not that of a file that is there", &both, &disk, &[copy(1), Verdict::Resume(0, Reason::SameFile)]);
        let disk = [archive("/l/a.log-03.gz"), ("/l/b.log", physical(1, 1, 5), banner.clone())];
        check("it may be of a file that is there", &both, &disk, &[NEW, Verdict::Resume(0, Reason::SameFile)]);
        let farther = source(1, physical(1, 1, 5), &text(1, 200));
        check("the one read farther", &[farther, newer], &[archive("/l/a.log-02.gz")], &[copy(0)]);
    }

    #[test]
    fn what_this_process_knows_of_a_file_counts_before_names_if_the_bytes_agree() {
        let (bytes, other) = (text(1, 100), text(2, 100));
        // An archive that was renamed and deleted since it was found, beside another file that has its original's name by now.
        let stored = [source(1, physical(1, 10, 5), &bytes), source(2, physical(1, 11, 6), &other)];
        let candidate = |inode, path, before: u8| Candidate {
            physical: physical(1, inode, 8),
            input: "in",
            path: Path::new(path),
            before: Some(SourceId([before; 16])),
        };
        let resumed = |source| Verdict::Resume(source, Reason::Known);
        for (before, expected) in [(1, resumed(0)), (2, NEW), (3, NEW)] {
            let files = [candidate(20, "/l/a.log.gz", before), candidate(21, "/l/a.log", 9)];
            let mut contents = Contents(vec![bytes.clone(), text(3, 50)], 0);
            assert_eq!(associate(&stored, &files, &mut contents), [expected, NEW], "{before}");
        }
    }

    #[test]
    fn of_many_files_and_sources_only_those_that_begin_alike_are_compared() {
        let long = |number: usize| [&number.to_le_bytes()[..], &text(1, 9000)].concat();
        let stored: Vec<StoredSource> = (0..1000).map(|at| source(1, physical(1, at as u64, 5), &long(at))).collect();
        let path = Path::new("/b");
        let files: Vec<Candidate<'_>> = (0..1000)
            .map(|at| Candidate { physical: physical(1, 5000 + at, 8), input: "in", path, before: None })
            .collect();
        let mut contents = Contents((0..1000).map(|at| long(at + 500)).collect(), 0);
        let verdicts = associate(&stored, &files, &mut contents);
        assert_eq!(
            (verdicts[0], verdicts[499]),
            (Verdict::Resume(500, Reason::Copy), Verdict::Resume(999, Reason::Copy))
        );
        assert_eq!((verdicts[500], contents.1), (NEW, 500));
    }

    const NEW: Verdict = Verdict::Create { supersedes: None, reason: Reason::Unknown };

    const fn instead_of(number: u8, reason: Reason) -> Verdict {
        Verdict::Create { supersedes: Some(SourceId([number; 16])), reason }
    }

    const LOG: &str = "/l/a.log";

    #[test]
    fn a_file_is_known_by_what_the_kernel_and_its_bytes_say() {
        use Reason::{Rewritten, SameFile, SameFileRemounted, Truncated};
        use Verdict::Resume;
        // Device, inode, birth time.
        let (here, there, unborn) = (physical(1, 10, 5), physical(1, 11, 6), physical(1, 10, 0));
        let read = text(1, 100);
        let one = [source(1, here, &read)];
        let (grown, other) = (text(1, 300), text(2, 400));

        check(
            "a file that grew goes on, wherever it is",
            &one,
            &[("/l/b", here, grown.clone())],
            &[Resume(0, SameFile)],
        );
        check("an unknown file is new", &one, &[(LOG, there, other.clone())], &[NEW]);
        let disk = [(LOG, there, text(1, 60)), ("/l/a.log.1", here, grown.clone())];
        check(
            "a renamed file goes on; what begins like it under its name is new",
            &one,
            &disk,
            &[NEW, Resume(0, SameFile)],
        );
        let disk = [(LOG, there, grown.clone()), ("/l/a.log.1", here, grown.clone())];
        check("even if it holds all that was read", &one, &disk, &[NEW, Resume(0, SameFile)]);
        let alike = [source(1, here, &read), source(2, there, &read)];
        let disk = [(LOG, there, grown.clone()), ("/l/b.log", here, grown.clone())];
        check("files that begin alike each go on", &alike, &disk, &[Resume(1, SameFile), Resume(0, SameFile)]);
        let unread = [source(1, here, &[])];
        check(
            "a file that was not read goes on by its inode",
            &unread,
            &[(LOG, here, other.clone())],
            &[Resume(0, SameFile)],
        );
        check("a file of another input is new", &one, &[("/other/a.log", here, grown.clone())], &[NEW]);

        check("a shorter file was truncated", &one, &[(LOG, here, text(1, 40))], &[instead_of(1, Truncated)]);
        check(
            "a file of other bytes was written anew",
            &one,
            &[(LOG, here, other.clone())],
            &[instead_of(1, Rewritten)],
        );
        let reused = physical(1, 10, 7);
        check("an inode used again is a new file", &one, &[(LOG, reused, other.clone())], &[NEW]);
        check("even if it holds all that was read", &one, &[(LOG, reused, grown.clone())], &[NEW]);
        let timeless = [source(1, unborn, &read)];
        let disk = [(LOG, unborn, other.clone())];
        check("without birth times its bytes tell", &timeless, &disk, &[instead_of(1, Rewritten)]);
        check("if they can", &timeless, &[(LOG, unborn, grown.clone())], &[Resume(0, SameFile)]);

        let twice = [source(1, here, &[]), superseding(1, source(2, here, &other))];
        let disk = [(LOG, here, other.clone())];
        check("the newest incarnation goes on", &twice, &disk, &[Resume(1, SameFile)]);
        check("the only one known goes on", &twice[..1], &disk, &[Resume(0, SameFile)]);
        let twice = [source(1, here, &read), superseding(1, source(2, here, &other))];
        let disk = [(LOG, here, grown.clone())];
        check("an older one goes on if its bytes are back", &twice, &disk, &[Resume(0, SameFile)]);

        let moved = physical(2, 10, 5);
        let disk = [("/l/a.log.1", moved, grown.clone())];
        check("another device number changes nothing", &one, &disk, &[Resume(0, SameFileRemounted)]);
        check("other bytes do", &one, &[(LOG, moved, other)], &[NEW]);
        let disk = [(LOG, physical(2, 10, 0), grown.clone())];
        check("without birth times an inode says nothing on another device", &timeless, &disk, &[NEW]);
        let disk = [(LOG, moved, grown.clone()), (LOG, here, grown)];
        check("of a disk and its clone, the known one goes on", &one, &disk, &[NEW, Resume(0, SameFile)]);
    }

    #[test]
    fn a_copy_is_known_by_its_bytes_alone_only_if_they_are_many_and_nobody_elses() {
        use Reason::{Copy, SameFile};
        use Verdict::Resume;
        let (gone, copy, other) = (physical(1, 10, 5), physical(1, 20, 8), physical(1, 21, 9));
        let long = text(1, 9000);
        let one = [source(1, gone, &long)];
        check("a long file's only copy goes on", &one, &[("/l/b", copy, long.clone())], &[Resume(0, Copy)]);
        let twice = [("/l/b", copy, long.clone()), ("/l/c", other, long.clone())];
        check("of two copies none does", &one, &twice, &[NEW, NEW]);
        let both = [("/l/b", copy, long.clone()), (LOG, gone, long.clone())];
        check("nor if the original is there", &one, &both, &[NEW, Resume(0, SameFile)]);
        let alike = [source(1, gone, &long), source(2, other, &long)];
        check("nor if it may be a copy of two files", &alike, &[("/l/b", copy, long.clone())], &[NEW]);
        let short = [source(1, gone, &text(1, 5000))];
        check("nor if little was read", &short, &[("/l/b", copy, text(1, 5000))], &[NEW]);
        let hole = [source(1, gone, &[0; 9000])];
        check("nor if all of it is a hole", &hole, &[("/l/b", copy, vec![0; 9000])], &[NEW]);
        let mut header = text(1, 4096);
        header.extend(text(2, 8000));
        check("nor if only the first bytes are the same", &one, &[("/l/b", copy, header)], &[NEW]);
    }

    #[test]
    fn a_copy_named_after_a_truncated_file_goes_on_however_short_it_is() {
        use Reason::{Copy, Rewritten, Truncated};
        use Verdict::Resume;
        let (here, copy, newer) = (physical(1, 10, 5), physical(1, 20, 8), physical(1, 11, 9));
        let one = [source(1, here, &text(1, 100))];
        let grown = text(1, 150);
        let shorter = (LOG, here, text(2, 40));
        let longer = (LOG, here, text(2, 400));
        for (original, reason) in [(shorter, Truncated), (longer, Rewritten)] {
            let truncated = instead_of(1, reason);
            let disk = [original.clone(), ("/l/a.log.1", copy, grown.clone())];
            check("the copy goes on, the file is new", &one, &disk, &[truncated, Resume(0, Copy)]);
            let disk = [original.clone(), ("/l/other", copy, grown.clone())];
            check("not if it is named otherwise", &one, &disk, &[truncated, NEW]);
            let disk = [original.clone(), ("/l/a.log.1", copy, text(3, 150))];
            check("not if its bytes are others", &one, &disk, &[truncated, NEW]);
            let disk = [original.clone(), ("/l/a.log.1", copy, text(1, 80))];
            check("not if it holds less than was read", &one, &disk, &[truncated, NEW]);
            let disk = [original, ("/l/a.log.1", newer, grown.clone()), ("/l/a.log.2", copy, grown.clone())];
            check("of copies that begin alike, the oldest", &one, &disk, &[truncated, NEW, Resume(0, Copy)]);
        }
        check("not if the original is gone", &one, &[("/l/a.log.1", copy, grown)], &[NEW]);
        let one = [source(1, here, &text(1, 1024))];
        let disk = [("/l/a.log.1", copy, text(1, 1500))];
        check("unless 1 KiB of it was read", &one, &disk, &[Resume(0, Copy)]);
    }

    #[test]
    fn an_archive_named_after_a_file_that_is_gone_goes_on_however_short_it_is() {
        use Reason::{Copy, SameFile};
        use Verdict::Resume;
        let (here, archive) = (physical(1, 10, 5), physical(1, 20, 8));
        let one = [source(1, here, &text(1, 100))];
        let grown = text(1, 150);
        for path in ["/l/a.log.gz", "/l/a.log.1.gz", "/l/a.log.3.zst"] {
            check("it goes on", &one, &[(path, archive, grown.clone())], &[Resume(0, Copy)]);
            check("not if its bytes are others", &one, &[(path, archive, text(2, 150))], &[NEW]);
            let disk = [(path, archive, grown.clone()), ("/l/a.log.1", here, grown.clone())];
            check("not if the file is there", &one, &disk, &[NEW, Resume(0, SameFile)]);
        }
        check("not if it is another file's", &one, &[("/l/b.log.1.gz", archive, grown)], &[NEW]);
    }

    #[test]
    fn of_sources_that_began_alike_the_one_read_farthest_goes_on_in_the_archive() {
        use Reason::{Copy, SameFile};
        use Verdict::Resume;
        let (banner, bytes) = (text(1, 80), [text(1, 80), text(2, 500)].concat());
        let two = [source(1, physical(1, 10, 5), &banner), source(2, physical(1, 11, 6), &bytes)];
        let archive = |inode, bytes: &[u8]| ("/l/a.log.1.gz", physical(1, inode, 9), bytes.to_vec());
        check("it is the other's", &two, &[archive(20, &bytes)], &[Resume(1, Copy)]);
        let disk = [archive(20, &bytes), ("/l/a.log.1", physical(1, 30, 9), text(3, 50))];
        check("not if the file it was made of is there", &two, &disk, &[NEW, NEW]);
        let disk = [archive(20, &bytes), ("/l/a.log.2.gz", physical(1, 21, 9), banner.clone())];
        check("another that begins so may be anybody's", &two, &disk, &[Resume(1, Copy), NEW]);
        let disk = [archive(20, &bytes), ("/l/b", physical(1, 11, 6), bytes.clone())];
        check("nor is it the one's if the other goes on elsewhere", &two, &disk, &[NEW, Resume(1, SameFile)]);
    }
}
