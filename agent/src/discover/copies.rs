//! Tells from names which file may be a rotated copy of which: `a.log` is copied to `a.log.1`, `a.log-20260131`, `a-20260131.log`. Pure.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::template::{file_stem, without_generation};

/// So many digits right behind a name are a date.
const DATE_DIGITS_MIN: usize = 6;

/// Tells whether `path` may be what `original` is copied to when it is rotated by copying and truncating.
pub fn may_be_copy(path: &Path, original: &Path) -> bool {
    let (Some(name), Some(original)) = (path.file_name(), original.file_name()) else { return false };
    let (name, original) = (String::from_utf8_lossy(name.as_bytes()), String::from_utf8_lossy(original.as_bytes()));
    let is_current = without_generation(&original) == original;
    let rest = name.strip_prefix(file_stem(&original));
    is_current && name != original && rest.is_some_and(sets_apart)
}

/// Tells whether a name that goes on so is the same name with something behind it, and not a longer one: `w3.log` is no copy of `w.log`, but
/// `w20260131.log` may be.
fn sets_apart(rest: &str) -> bool {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits >= DATE_DIGITS_MIN || !rest.starts_with(char::is_alphanumeric)
}

/// Gives the path that an archive's file had before it was compressed; `None` if its name is not an archive's.
pub fn unpacked(path: &Path) -> Option<PathBuf> {
    let ending = path.extension()?;
    (ending == "gz" || ending == "zst").then(|| path.with_extension(""))
}

/// Tells whether `path` may be an archive of `original`, which is gone: either may have been renamed several times. Archives are not packed
/// again.
pub fn may_be_archive(path: &Path, original: &Path) -> bool {
    let stem = |path: &Path| Some(file_stem(&path.file_name()?.to_string_lossy()).to_owned());
    unpacked(path).is_some() && unpacked(original).is_none() && stem(path) == stem(original)
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
            ("/l/a20260131.log", "/l/a.log", true),
            ("/l/a3.log", "/l/a.log", false),
            ("/l/apple.log", "/l/a.log", false),
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
            ("/l/a.log.2.gz", "/l/a.log.1.gz", false),
        ];
        for (path, original, expected) in cases {
            assert_eq!(may_be_archive(Path::new(path), Path::new(original)), expected, "{path} of {original}");
        }
    }
}
