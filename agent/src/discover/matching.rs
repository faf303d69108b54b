//! Which stored source is which file on disk: one pure function, so that its whole behaviour is a table.
//!
//! A source goes on in a file only if head and anchor are both there. In this order:
//!
//! 1. the file has the source's device, inode and birth time;
//! 2. it has its inode and birth time, on a device with another number (a file system mounted anew);
//! 3. it is a copy: its first 4 KiB and the 1 KiB before the position match this one source, and no other file does.
//!
//! 4. it is a copy by name: it is named as a rotated copy of the source's file, which is there with other bytes (it was truncated), and
//!    head and anchor match this one source, however short they are, and no other file does.
//!
//! 5. it is an archive by name: it is named as a compressed copy of the source's file, which is gone, and head and anchor match this one
//!    source in the decompressed bytes, however short they are, and no other file does.
//!
//! Else it is a new source. A source stays without a file if none is left for it. Shorter heads alone never make a copy: many files
//! begin alike, and a wrong guess would lose lines, where a missed one at worst ships a copied file as what it is, another file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use skidway_record::SourceId;
use skidway_record::source::{FINGERPRINT_BYTES_MAX, Fingerprint, PhysicalId, StoredSource};

use crate::discover::copies::{may_be_archive, may_be_copy};
use crate::flow::fingerprint::{ANCHOR_BYTES_MAX, Evidence};

/// Holds what matching needs to know of a file on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The file.
    pub physical: PhysicalId,
    /// Name of the input it belongs to.
    pub input: &'a str,
    /// Where it was found.
    pub path: &'a Path,
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
    let mut verdicts = vec![Verdict::Create { supersedes: None, reason: Reason::Unknown }; files.len()];
    let mut open: Vec<usize> = (0..files.len()).collect();
    let mut free = vec![true; stored.len()];
    for (identity, reason) in [
        (same_file as fn(&PhysicalId) -> PhysicalId, Reason::SameFile),
        (any_device as fn(&PhysicalId) -> PhysicalId, Reason::SameFileRemounted),
    ] {
        let known = by_identity(stored, identity);
        open.retain(|&file| {
            let key = (files[file].input, identity(&files[file].physical));
            // The newest incarnation is asked first: those it superseded have its identity too.
            for &source in known.get(&key).into_iter().flatten().filter(|&&source| free[source]) {
                if witness.compare(file, &stored[source]) == Evidence::Same {
                    (verdicts[file], free[source]) = (Verdict::Resume(source, reason), false);
                    return false;
                }
            }
            true
        });
    }
    let heads = by_full_head(stored, &free);
    let any = |_: &Candidate<'_>, _: &StoredSource| true;
    match_copies(stored, files, &heads, any, &mut open, &mut free, &mut verdicts, witness);
    let truncated = by_truncation(stored, files, &free);
    let by_name = |file: &Candidate<'_>, of: &StoredSource| may_be_copy(file.path, path_of(of));
    match_copies(stored, files, &truncated, by_name, &mut open, &mut free, &mut verdicts, witness);
    let gone = by_absence(stored, files, &free);
    let by_name = |file: &Candidate<'_>, of: &StoredSource| may_be_archive(file.path, path_of(of));
    match_copies(stored, files, &gone, by_name, &mut open, &mut free, &mut verdicts, witness);
    let known = by_identity(stored, same_file);
    for file in open {
        let key = (files[file].input, files[file].physical);
        if let Some(&source) = known.get(&key).and_then(|sources| sources.first()) {
            let reason = match witness.compare(file, &stored[source]) {
                Evidence::Shorter => Reason::Truncated,
                _ => Reason::Rewritten,
            };
            verdicts[file] = Verdict::Create { supersedes: Some(stored[source].source.id), reason };
        }
    }
    verdicts
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
    (0..stored.len()).filter(|&index| free[index] && enough(&stored[index])).collect()
}

/// Finds the free sources that were read in part and whose file is there, but is theirs no more.
fn by_truncation(stored: &[StoredSource], files: &[Candidate<'_>], free: &[bool]) -> Vec<usize> {
    let there: HashSet<PhysicalId> = files.iter().map(|file| file.physical).collect();
    let is_there = |it: &StoredSource| there.contains(&it.source.physical);
    (0..stored.len()).filter(|&index| free[index] && stored[index].position > 0 && is_there(&stored[index])).collect()
}

/// Finds the free sources that were read in part and whose file is not there.
fn by_absence(stored: &[StoredSource], files: &[Candidate<'_>], free: &[bool]) -> Vec<usize> {
    let there: HashSet<PhysicalId> = files.iter().map(|file| file.physical).collect();
    let is_there = |it: &StoredSource| there.contains(&it.source.physical);
    (0..stored.len()).filter(|&index| free[index] && stored[index].position > 0 && !is_there(&stored[index])).collect()
}

/// Gives the path a source's file was last known under.
pub fn path_of(stored: &StoredSource) -> &Path {
    Path::new(OsStr::from_bytes(&stored.source.path))
}

#[expect(clippy::too_many_arguments, reason = "one step of one function, whose state they are")]
fn match_copies(
    stored: &[StoredSource],
    files: &[Candidate<'_>],
    sources: &[usize],
    may_be: impl Fn(&Candidate<'_>, &StoredSource) -> bool,
    open: &mut Vec<usize>,
    free: &mut [bool],
    verdicts: &mut [Verdict],
    witness: &mut impl Witness,
) {
    // Of thousands of each, only those that begin alike are compared.
    let mut by_head: HashMap<(&str, Fingerprint), Vec<usize>> = HashMap::new();
    let mut lens: HashMap<&str, BTreeSet<u32>> = HashMap::new();
    for &source in sources {
        let of = &stored[source].source;
        by_head.entry((of.input.as_str(), of.head)).or_default().push(source);
        lens.entry(of.input.as_str()).or_default().insert(of.head.len);
    }
    let mut pairs = Vec::new();
    for &file in open.iter() {
        let Some(lens) = lens.get(files[file].input) else { continue };
        let heads = witness.heads(file, lens);
        let alike = heads.iter().filter_map(|head| by_head.get(&(files[file].input, *head))).flatten();
        for &source in alike.filter(|source| may_be(&files[file], &stored[**source])) {
            if witness.compare(file, &stored[source]) == Evidence::Same {
                pairs.push((file, source));
            }
        }
    }
    let (mut rivals_of_file, mut rivals_of_source) = (HashMap::new(), HashMap::new());
    for &(file, source) in &pairs {
        *rivals_of_file.entry(file).or_insert(0) += 1;
        *rivals_of_source.entry(source).or_insert(0) += 1;
    }
    for &(file, source) in &pairs {
        if rivals_of_file[&file] == 1 && rivals_of_source[&source] == 1 {
            (verdicts[file], free[source]) = (Verdict::Resume(source, Reason::Copy), false);
        }
    }
    open.retain(|&file| !matches!(verdicts[file], Verdict::Resume(..)));
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

    fn source(number: u8, physical: PhysicalId, bytes: &[u8], supersedes: Option<u8>) -> StoredSource {
        StoredSource {
            source: NewSource {
                id: SourceId([number; 16]),
                input: "in".into(),
                topic: "t".parse().unwrap(),
                partitioning: Partitioning::File,
                physical,
                supersedes: supersedes.map(|it| SourceId([it; 16])),
                head: fingerprint::head(bytes),
                path: "/a".into(),
            },
            agent: AgentId::new("a").unwrap(),
            partition: None,
            position: bytes.len() as u64,
            carry: Default::default(),
            anchor: fingerprint::anchor(bytes),
            gone_at_ms: None,
        }
    }

    fn check(stored: &[StoredSource], files: &[(PhysicalId, Vec<u8>)], expected: &[Verdict]) {
        check_named(stored, &files.iter().map(|(id, bytes)| ("/b", *id, bytes.clone())).collect::<Vec<_>>(), expected);
    }

    fn check_named(stored: &[StoredSource], files: &[(&str, PhysicalId, Vec<u8>)], expected: &[Verdict]) {
        let file = |path, physical| Candidate { physical, input: "in", path: Path::new(path) };
        let candidates: Vec<Candidate<'_>> = files.iter().map(|(path, id, _)| file(*path, *id)).collect();
        let contents = files.iter().map(|(_, _, bytes)| bytes.clone()).collect();
        assert_eq!(associate(stored, &candidates, &mut Contents(contents, 0)), expected);
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
    fn of_many_files_and_sources_only_those_that_begin_alike_are_compared() {
        let long = |number: usize| [&number.to_le_bytes()[..], &text(1, 9000)].concat();
        let stored: Vec<StoredSource> =
            (0..1000).map(|at| source(1, physical(1, at as u64, 5), &long(at), None)).collect();
        let path = Path::new("/b");
        let files: Vec<Candidate<'_>> =
            (0..1000).map(|at| Candidate { physical: physical(1, 5000 + at, 8), input: "in", path }).collect();
        let mut contents = Contents((0..1000).map(|at| long(at + 500)).collect(), 0);
        let verdicts = associate(&stored, &files, &mut contents);
        assert_eq!(
            (verdicts[0], verdicts[499]),
            (Verdict::Resume(500, Reason::Copy), Verdict::Resume(999, Reason::Copy))
        );
        assert_eq!((verdicts[500], contents.1), (create(None, Reason::Unknown), 500));
    }

    const fn create(supersedes: Option<u8>, reason: Reason) -> Verdict {
        let supersedes = match supersedes {
            Some(number) => Some(SourceId([number; 16])),
            None => None,
        };
        Verdict::Create { supersedes, reason }
    }

    #[test]
    fn a_file_that_grew_is_resumed_and_a_new_one_created() {
        let stored = [source(1, physical(1, 10, 5), &text(1, 100), None)];
        let files = [(physical(1, 11, 6), text(2, 50)), (physical(1, 10, 5), text(1, 300))];
        check(&stored, &files, &[create(None, Reason::Unknown), Verdict::Resume(0, Reason::SameFile)]);
    }

    #[test]
    fn a_rotated_file_keeps_its_source_and_the_one_under_its_old_name_is_new_even_with_the_same_first_lines() {
        let stored = [source(1, physical(1, 10, 5), &text(1, 100), None)];
        let files = [(physical(1, 12, 9), text(1, 60)), (physical(1, 10, 5), text(1, 200))];
        check(&stored, &files, &[create(None, Reason::Unknown), Verdict::Resume(0, Reason::SameFile)]);
    }

    #[test]
    fn a_truncated_a_rewritten_and_a_reused_inode_are_new_sources() {
        let stored = [source(1, physical(1, 10, 5), &text(1, 100), None)];
        let cases = [
            (physical(1, 10, 5), text(1, 40), create(Some(1), Reason::Truncated)),
            (physical(1, 10, 5), text(2, 400), create(Some(1), Reason::Rewritten)),
            (physical(1, 10, 7), text(2, 400), create(None, Reason::Unknown)),
        ];
        for (physical, bytes, verdict) in cases {
            check(&stored, &[(physical, bytes)], &[verdict]);
        }
    }

    #[test]
    fn the_newest_incarnation_of_a_file_is_the_one_resumed() {
        let here = physical(1, 10, 5);
        let stored = [source(1, here, &[], None), source(2, here, &text(2, 80), Some(1))];
        check(&stored, &[(here, text(2, 90))], &[Verdict::Resume(1, Reason::SameFile)]);
        check(&stored[..1], &[(here, text(2, 90))], &[Verdict::Resume(0, Reason::SameFile)]);
    }

    #[test]
    fn another_device_number_changes_nothing_unless_birth_times_are_unknown() {
        let bytes = text(1, 100);
        let stored = [source(1, physical(1, 10, 5), &bytes, None)];
        check(&stored, &[(physical(2, 10, 5), bytes.clone())], &[Verdict::Resume(0, Reason::SameFileRemounted)]);
        let stored = [source(1, physical(1, 10, 0), &bytes, None)];
        check(&stored, &[(physical(2, 10, 0), bytes)], &[create(None, Reason::Unknown)]);
    }

    #[test]
    fn a_copy_is_resumed_only_if_it_is_long_and_unique() {
        let long = text(1, 9000);
        let stored = [source(1, physical(1, 10, 5), &long, None)];
        check(&stored, &[(physical(1, 20, 8), long.clone())], &[Verdict::Resume(0, Reason::Copy)]);
        let twice = [(physical(1, 20, 8), long.clone()), (physical(1, 21, 8), long)];
        check(&stored, &twice, &[create(None, Reason::Unknown); 2]);
        let short = [source(1, physical(1, 10, 5), &text(1, 5000), None)];
        check(&short, &[(physical(1, 20, 8), text(1, 5000))], &[create(None, Reason::Unknown)]);
    }

    #[test]
    fn a_short_copy_is_resumed_if_it_is_named_as_one_and_its_original_was_truncated() {
        let stored = [source(1, physical(1, 10, 5), &text(1, 100), None)];
        let (copy, grown) = (physical(1, 20, 8), text(1, 150));
        let truncated = ("/a", physical(1, 10, 5), text(2, 40));
        let rewritten = ("/a", physical(1, 10, 5), text(2, 400));
        for (original, reason) in [(truncated, Reason::Truncated), (rewritten, Reason::Rewritten)] {
            let files = [original.clone(), ("/a.1", copy, grown.clone())];
            check_named(&stored, &files, &[create(Some(1), reason), Verdict::Resume(0, Reason::Copy)]);
            let files = [original.clone(), ("/other", copy, grown.clone())];
            check_named(&stored, &files, &[create(Some(1), reason), create(None, Reason::Unknown)]);
            let files = [original.clone(), ("/a.1", copy, text(3, 150))];
            check_named(&stored, &files, &[create(Some(1), reason), create(None, Reason::Unknown)]);
            let twice = [original, ("/a.1", copy, grown.clone()), ("/a.2", physical(1, 21, 8), grown.clone())];
            let unknown = create(None, Reason::Unknown);
            check_named(&stored, &twice, &[create(Some(1), reason), unknown, unknown]);
        }
        check_named(&stored, &[("/a.1", copy, grown)], &[create(None, Reason::Unknown)]);
    }
}
