//! Which files a record may be of, by the path it says it was read under: a file is renamed, packed and moved after that. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;

use crate::config::template::file_stem;

/// Lists the files a record may be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The likeliest first: the one that has the path now, those beside it, the rest. One name begins with the stem of the other.
    pub(super) kin: Vec<usize>,
    /// The first of them has the path now.
    pub(super) has_own: bool,
    /// Named otherwise, in the same folder: some programs rotate `current` to `@400000006a…`.
    pub(super) strangers: Vec<usize>,
}

/// Knows files by their names.
#[derive(Debug, Default)]
pub(super) struct Kinship {
    by_name: BTreeMap<String, Vec<usize>>,
    by_stem: HashMap<String, Vec<usize>>,
    by_folder: HashMap<Vec<u8>, Vec<usize>>,
    paths: Vec<Vec<u8>>,
}

impl Kinship {
    /// Takes files, numbered as they come.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut kinship = Self::default();
        for (file, path) in paths.into_iter().enumerate() {
            let name = name(path);
            kinship.by_stem.entry(file_stem(&name).to_owned()).or_default().push(file);
            kinship.by_name.entry(name).or_default().push(file);
            kinship.by_folder.entry(folder(path).to_owned()).or_default().push(file);
            kinship.paths.push(path.to_owned());
        }
        kinship
    }

    /// Lists the files that a record read under `path` may be of.
    pub(super) fn order(&self, path: &[u8]) -> Order {
        let kin = self.kin(path);
        let beside = self.by_folder.get(folder(path)).into_iter().flatten().copied();
        let strangers = if kin.is_empty() { Vec::new() } else { beside.filter(|file| !kin.contains(file)).collect() };
        Order { has_own: kin.first().is_some_and(|&first| self.paths[first] == path), kin, strangers }
    }

    fn kin(&self, path: &[u8]) -> Vec<usize> {
        let name = name(path);
        let stem = file_stem(&name);
        let mut kin: Vec<usize> = Vec::new();
        for (other, files) in self.by_name.range::<str, _>((Bound::Included(stem), Bound::Unbounded)) {
            if !other.starts_with(stem) {
                break;
            }
            kin.extend(files);
        }
        let starts = name.char_indices().map(|(at, _)| &name[..at]).chain([&name[..]]);
        kin.extend(starts.filter_map(|start| self.by_stem.get(start)).flatten());
        let folder = folder(path);
        let distance = |file: &usize| match &self.paths[*file] {
            own if own == path => 0,
            own if self::folder(own) == folder => 1,
            _ => 2,
        };
        kin.sort_unstable_by_key(|file| (distance(file), *file));
        kin.dedup();
        kin
    }
}

fn name(path: &[u8]) -> String {
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    String::from_utf8_lossy(&path[start..]).into_owned()
}

fn folder(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)]
}

/// Gives what files that may be taken for each other have in common, so that they are compared together.
pub(super) fn family(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    file_stem(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_looked_for_in_files_of_their_name_the_nearest_first() {
        let files = ["/l/a.log", "/l/a.log.1", "/l/a-20260131.log", "/old/a.log.2.gz", "/l/b.log", "/m/a.log"];
        let kinship = Kinship::of(files.map(str::as_bytes));
        let order = |path: &str| kinship.order(path.as_bytes()).kin.into_iter().map(|at| files[at]).collect::<Vec<_>>();
        assert_eq!(order("/l/a.log"), ["/l/a.log", "/l/a.log.1", "/l/a-20260131.log", "/old/a.log.2.gz", "/m/a.log"]);
        assert_eq!(order("/m/a.log")[0], "/m/a.log");
        assert_eq!(order("/l/b.log.7"), ["/l/b.log"]);
        assert_eq!(order("/l/c.log"), [""; 0]);
        let order = kinship.order(b"/l/b.log");
        assert_eq!((order.has_own, order.strangers), (true, vec![0, 1, 2]));
    }
}
