//! Tells from names which file may be a rotated copy of which: `a.log` is copied to `a.log.1`, `a.log-20260131`, `a-20260131.log`. Pure.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::template::{file_stem, without_generation};

/// Tells whether `path` may be what `original` is copied to when it is rotated by copying and truncating.
pub fn may_be_copy(path: &Path, original: &Path) -> bool {
    let (Some(name), Some(original)) = (path.file_name(), original.file_name()) else { return false };
    let (name, original) = (String::from_utf8_lossy(name.as_bytes()), String::from_utf8_lossy(original.as_bytes()));
    let is_current = without_generation(&original) == original;
    is_current && name != original && name.starts_with(file_stem(&original))
}

/// Gives the path that an archive's file had before it was compressed; `None` if its name is not an archive's.
pub fn unpacked(path: &Path) -> Option<PathBuf> {
    let ending = path.extension()?;
    (ending == "gz" || ending == "zst").then(|| path.with_extension(""))
}

/// Tells whether `path` may be an archive of `original`, which is gone: either may have been renamed several times.
pub fn may_be_archive(path: &Path, original: &Path) -> bool {
    let stem = |path: &Path| Some(file_stem(&path.file_name()?.to_string_lossy()).to_owned());
    unpacked(path).is_some() && stem(path) == stem(original)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_named_after_what_they_are_copied_from() {
        let cases = [
            ("/l/a.log.1", "/l/a.log", true),
            ("/old/a.log.1", "/l/a.log", true),
            ("/l/a.log-20260131", "/l/a.log", true),
            ("/l/a-20260131.log", "/l/a.log", true),
            ("/l/a.log", "/l/a.log", false),
            ("/l/a.log", "/l/a.log.1", false),
            ("/l/a.log.2", "/l/a.log.1", false),
            ("/l/b.log.1", "/l/a.log", false),
            ("/l/syslog.1", "/l/syslog", true),
        ];
        for (path, original, expected) in cases {
            assert_eq!(may_be_copy(Path::new(path), Path::new(original)), expected, "{path} of {original}");
        }
    }

    #[test]
    fn archives_are_named_after_what_they_were() {
        let cases = [
            ("/l/a.log.1.gz", "/l/a.log.1", true),
            ("/l/a.log.1.zst", "/l/a.log", true),
            ("/l/a.log.gz", "/l/a.log", true),
            ("/l/a.log.1.gz", "/l/b.log.1", false),
            ("/l/a.log.2.gz", "/l/a.log.1", true),
            ("/l/a.log.1", "/l/a.log", false),
        ];
        for (path, original, expected) in cases {
            assert_eq!(may_be_archive(Path::new(path), Path::new(original)), expected, "{path} of {original}");
        }
    }
}
