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
    exclude_folders: GlobSet,
    roots: Vec<Root>,
}

/// Names a folder to list and how many levels below it can hold matching files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Root {
    folder: PathBuf,
    depth: usize,
    /// Linked folders are entered too; not below `**`, where a link into itself would never end.
    through_links: bool,
    /// The input whose excluded folders are not entered; none if it excludes no folders, so that inputs share what is listed.
    input: Option<usize>,
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
        let globs = |(at, input)| Globs::new(at, input, working_folder);
        let inputs = inputs.iter().enumerate().map(globs).collect::<Result<_, _>>()?;
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
                let is_left_out = root.input.is_some_and(|input| self.inputs[input].exclude_folders.is_match(&path));
                if root.depth > 0 && !is_left_out {
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
    fn new(at: usize, input: &Input, working_folder: &Path) -> Result<Self, globset::Error> {
        let absolute = |glob: &String| {
            if glob.starts_with('/') { glob.clone() } else { format!("{}/{glob}", working_folder.display()) }
        };
        let include: Vec<String> = input.include.iter().map(absolute).collect();
        let (folders, files): (Vec<&String>, Vec<&String>) = input.exclude.iter().partition(|glob| glob.ends_with('/'));
        let (paths, names): (Vec<&String>, Vec<&String>) = files.into_iter().partition(|glob| glob.contains('/'));
        let folders: Vec<String> =
            folders.into_iter().map(|glob| absolute(glob).trim_end_matches('/').into()).collect();
        let at = Some(at).filter(|_| !folders.is_empty());
        Ok(Self {
            include: glob_set(&include)?,
            exclude_paths: glob_set(&paths.into_iter().map(absolute).collect::<Vec<_>>())?,
            exclude_names: glob_set(&names.into_iter().cloned().collect::<Vec<_>>())?,
            exclude_folders: glob_set(&folders)?,
            roots: include.iter().map(|glob| Root { input: at, ..Root::of(glob) }).collect(),
        })
    }

    fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let is_excluded = self.exclude_names.is_match(name) || self.exclude_paths.is_match(path);
        self.include.is_match(path) && !is_excluded && !self.is_in_excluded_folder(path)
    }

    fn is_in_excluded_folder(&self, path: &Path) -> bool {
        !self.exclude_folders.is_empty() && path.ancestors().skip(1).any(|folder| self.exclude_folders.is_match(folder))
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
        Self {
            folder: PathBuf::from(format!("/{}", segments[..plain].join("/"))),
            depth,
            through_links: !is_deep,
            input: None,
        }
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
    fn an_excluded_folder_is_not_entered_for_its_input_and_is_for_another() {
        let temp = tempfile::tempdir().unwrap();
        for path in ["a/x.log", "private/x.log", "private/deep/x.log", "private/b.txt"] {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n").unwrap();
        }
        let entered = |discovery: &Discovery| {
            let mut entered = Vec::new();
            discovery.scan(|folder| entered.push(folder.to_owned()), |_, _| {});
            entered.iter().filter(|folder| folder.ends_with("private")).count()
        };
        let one = discovery(temp.path(), &[(&["**/*.log"], &["priv*/"])]);
        assert_eq!(found(&one, temp.path()), [("a/x.log".to_owned(), 0)]);
        assert_eq!(one.input_of(&temp.path().join("private/deep/x.log")), None, "a watch may name it, too");
        assert_eq!(entered(&one), 0);
        let two = discovery(temp.path(), &[(&["**/*.log"], &["private/"]), (&["*/*.txt"], &[])]);
        let expected = [("a/x.log", 0), ("private/b.txt", 1)];
        assert_eq!(found(&two, temp.path()), expected.map(|(path, input)| (path.to_owned(), input)));
        assert_eq!(entered(&two), 1);
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
