//! Finds the files the inputs ask for. Lists folders and matches names; opens no file and decides nothing about sources.

pub mod content;
pub mod copies;
pub mod matching;
pub mod network;
pub mod watch;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::config::Input;

/// Bounds how deep `**` goes, so that a folder linked into itself ends.
const DEPTH_MAX: usize = 40;

/// Knows which paths belong to which input.
#[derive(Debug)]
pub struct Discovery {
    inputs: Vec<Globs>,
    excluded_folder: PathBuf,
}

#[derive(Debug)]
struct Globs {
    include: GlobSet,
    exclude_paths: GlobSet,
    exclude_names: GlobSet,
    roots: Vec<Root>,
}

/// Names a folder to list and how many levels below it can hold matching files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Root {
    folder: PathBuf,
    depth: usize,
    /// Linked folders are entered too; not below `**`, where a link into itself would never end.
    through_links: bool,
}

/// Names a path and the first input that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As listed; may be a symbolic link.
    pub path: PathBuf,
    /// Index into the configured inputs.
    pub input: usize,
}

impl Discovery {
    /// Prepares the inputs' globs. Relative ones count from `working_folder`; nothing in `excluded_folder` is ever found.
    ///
    /// # Errors
    /// A glob is malformed (halt; the configuration's check names it first).
    pub fn new(inputs: &[Input], working_folder: &Path, excluded_folder: &Path) -> Result<Self, globset::Error> {
        let inputs = inputs.iter().map(|input| Globs::new(input, working_folder)).collect::<Result<_, _>>()?;
        Ok(Self { inputs, excluded_folder: excluded_folder.to_owned() })
    }

    /// Gives the first input that asks for a path.
    pub fn input_of(&self, path: &Path) -> Option<usize> {
        if self.is_excluded(path) {
            return None;
        }
        self.inputs.iter().position(|globs| globs.matches(path))
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let rest = path_bytes(path).strip_prefix(path_bytes(&self.excluded_folder));
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Lists every folder that can hold matching files and gives those found. `enter` is called with each folder *before* it is
    /// listed, so that a watch set there misses nothing; `trouble` with each that cannot be listed.
    pub fn scan(&self, mut enter: impl FnMut(&Path), mut trouble: impl FnMut(&Path, &io::Error)) -> Vec<Found> {
        let mut pending: Vec<Root> = self.inputs.iter().flat_map(|globs| globs.roots.clone()).collect();
        let (mut found, mut listed) = (Vec::new(), HashSet::new());
        while let Some(root) = pending.pop() {
            if !listed.insert(root.clone()) {
                continue;
            }
            enter(&root.folder);
            if let Err(error) = self.list(&root, &mut pending, &mut found) {
                trouble(&root.folder, &error);
            }
        }
        // As bytes: comparing paths part by part takes several times as long.
        found.sort_unstable_by(|a, b| path_bytes(&a.path).cmp(path_bytes(&b.path)));
        found.dedup_by(|a, b| path_bytes(&a.path) == path_bytes(&b.path));
        found
    }

    fn list(&self, root: &Root, pending: &mut Vec<Root>, found: &mut Vec<Found>) -> io::Result<()> {
        for entry in std::fs::read_dir(&root.folder)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() || (kind.is_symlink() && root.through_links && path.is_dir()) {
                if root.depth > 0 {
                    pending.push(Root { folder: path, depth: root.depth - 1, ..*root });
                }
            } else if let Some(input) = self.input_of(&path) {
                found.push(Found { path, input });
            }
        }
        Ok(())
    }
}

impl Globs {
    fn new(input: &Input, working_folder: &Path) -> Result<Self, globset::Error> {
        let absolute = |glob: &String| {
            if glob.starts_with('/') { glob.clone() } else { format!("{}/{glob}", working_folder.display()) }
        };
        let include: Vec<String> = input.include.iter().map(absolute).collect();
        let (paths, names): (Vec<&String>, Vec<&String>) = input.exclude.iter().partition(|glob| glob.contains('/'));
        Ok(Self {
            include: glob_set(&include)?,
            exclude_paths: glob_set(&paths.into_iter().map(absolute).collect::<Vec<_>>())?,
            exclude_names: glob_set(&names.into_iter().cloned().collect::<Vec<_>>())?,
            roots: include.iter().map(|glob| Root::of(glob)).collect(),
        })
    }

    fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        self.include.is_match(path) && !self.exclude_names.is_match(name) && !self.exclude_paths.is_match(path)
    }
}

fn glob_set(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build()
}

impl Root {
    /// Takes the folders before the first wildcard, and counts the levels after it.
    fn of(glob: &str) -> Self {
        let segments: Vec<&str> = glob.split('/').filter(|segment| !segment.is_empty()).collect();
        let folders = segments.len().saturating_sub(1);
        let is_plain = |segment: &&&str| !segment.contains(['*', '?', '[', '{', '\\']);
        let plain = segments[..folders].iter().take_while(is_plain).count();
        let is_deep = glob.contains("**");
        let depth = if is_deep { DEPTH_MAX } else { folders - plain };
        Self { folder: PathBuf::from(format!("/{}", segments[..plain].join("/"))), depth, through_links: !is_deep }
    }
}

/// Gives a path's bytes, as the wire and the headers want them.
pub fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(root: &Path, inputs: &[(&[&str], &[&str])]) -> Discovery {
        let text = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        let input = |(include, exclude): &(&[&str], &[&str])| Input {
            include: text(include),
            exclude: text(exclude),
            ..Input::new("t")
        };
        Discovery::new(&inputs.iter().map(input).collect::<Vec<_>>(), root, &root.join("state")).unwrap()
    }

    fn found(discovery: &Discovery, root: &Path) -> Vec<(String, usize)> {
        let short = |found: Found| (found.path.strip_prefix(root).unwrap().display().to_string(), found.input);
        discovery.scan(|_| {}, |_, _| {}).into_iter().map(short).collect()
    }

    #[test]
    fn a_file_belongs_to_the_first_input_that_asks_for_it_and_own_files_to_none() {
        let temp = tempfile::tempdir().unwrap();
        for path in ["a.log", "b.tmp", "sub/deep/c.log", "sub/d.log", "sub/old/e.log", "state/own.log"] {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n").unwrap();
        }
        let all = discovery(temp.path(), &[(&["sub/*.log"], &[]), (&["**/*"], &["*.tmp", "sub/old/*"])]);
        let expected = [("a.log", 1), ("sub/d.log", 0), ("sub/deep/c.log", 1)];
        assert_eq!(found(&all, temp.path()), expected.map(|(path, input)| (path.to_owned(), input)));
    }

    #[test]
    fn only_folders_that_can_hold_matches_are_entered() {
        let cases = [
            ("/var/log/*.log", "/var/log", 0),
            ("/var/log/a.log", "/var/log", 0),
            ("/var/*/x/*.log", "/var", 2),
            ("/srv/**/*.log", "/srv", DEPTH_MAX),
            ("/*", "/", 0),
        ];
        for (glob, folder, depth) in cases {
            let root = Root::of(glob);
            assert_eq!((root.folder, root.depth), (PathBuf::from(folder), depth), "{glob}");
        }
    }

    #[test]
    fn folders_that_cannot_be_listed_are_named() {
        let discovery = discovery(Path::new("/"), &[(&["/no/such/folder/*.log"], &[])]);
        let mut named = Vec::new();
        discovery.scan(|_| {}, |folder, error| named.push((folder.to_owned(), error.kind())));
        assert_eq!(named, [(PathBuf::from("/no/such/folder"), io::ErrorKind::NotFound)]);
    }
}
