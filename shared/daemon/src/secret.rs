//! Secrets on their way in: files and systemd credentials, random bytes, hashes. None is ever logged.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

/// Begins a path that is the name of a systemd credential (`LoadCredential=`).
const CREDENTIAL: &str = "credential:";

/// Where systemd puts a unit's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Bounds a file of secrets, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Holds a secret text. Its `Debug` is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text, to be used and not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Tells why a secret cannot be had. Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A credential was named, and this process was given none.
    #[error(
        "{name}: no systemd credential can be had, $CREDENTIALS_DIRECTORY is not set; name a file, or add LoadCredential={name}:PATH to the unit"
    )]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// A credential's name is a path.
    #[error("{name:?} is no name of a systemd credential: letters, digits, `.`, `_` and `-`")]
    BadName {
        /// As configured.
        name: String,
    },
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds nothing, or far too much.
    #[error("{path} does not hold a secret: it has {bytes} bytes")]
    Size {
        /// Which.
        path: PathBuf,
        /// How many.
        bytes: u64,
    },
}

/// Gives the path of a configured file: `credential:NAME` is `$CREDENTIALS_DIRECTORY/NAME`, everything else stands for itself.
///
/// # Errors
/// [`SecretError::NoCredentials`], [`SecretError::BadName`] (halt).
pub fn path(configured: &Path) -> Result<PathBuf, SecretError> {
    let Some(name) = configured.to_str().and_then(|text| text.strip_prefix(CREDENTIAL)) else {
        return Ok(configured.to_owned());
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(SecretError::BadName { name: name.to_owned() });
    }
    let folder = std::env::var_os(CREDENTIALS_DIRECTORY).filter(|folder| !folder.is_empty());
    let folder = folder.ok_or_else(|| SecretError::NoCredentials { name: name.to_owned() })?;
    Ok(PathBuf::from(folder).join(name))
}

/// Reads a secret from a configured file, without the white space around it.
///
/// # Errors
/// [`SecretError`] (halt).
pub fn read(configured: &Path) -> Result<Secret, SecretError> {
    let path = path(configured)?;
    let unreadable = |source| SecretError::Unreadable { path: path.clone(), source };
    let bytes = std::fs::metadata(&path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(SecretError::Size { path, bytes });
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    match text.trim() {
        "" => Err(SecretError::Size { path, bytes }),
        text => Ok(Secret::new(text)),
    }
}

/// Says what to do about a file of secrets that every user of this machine can read; `None` if it is well. A group may read it: that is how a
/// service gets what root keeps.
pub fn exposure(configured: &Path) -> Option<String> {
    let path = path(configured).ok()?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| format!("every user of this machine can read {}; chmod o-rwx it", path.display()))
}

/// Warns in the log of such a file, which `key` of the configuration names.
pub fn warn_if_exposed(key: &str, configured: &Path) {
    if let Some(exposure) = exposure(configured) {
        tracing::warn!("{key}: {exposure}");
    }
}

/// Draws random bytes from the operating system.
///
/// # Panics
/// When the system has none, which Linux never says once it has booted.
pub fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).expect("the kernel has random bytes");
    bytes
}

/// Gives the SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_itself_and_a_credential_needs_a_plain_name() {
        assert_eq!(path(Path::new("/etc/token")).unwrap(), Path::new("/etc/token"));
        for bad in ["credential:", "credential:../x", "credential:a/b", "credential:.hidden"] {
            assert!(matches!(path(Path::new(bad)), Err(SecretError::BadName { .. })), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_read_without_white_space_and_not_shown() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(temp.path(), " hidden\n").unwrap();
        let secret = read(temp.path()).unwrap();
        assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("hidden", "***"));
        std::fs::write(temp.path(), "\n").unwrap();
        assert!(matches!(read(temp.path()), Err(SecretError::Size { .. })));
    }

    #[test]
    fn a_file_that_everybody_can_read_is_told_of_and_one_of_a_group_is_not() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let with = |mode| {
            std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            exposure(temp.path())
        };
        assert_eq!((with(0o600), with(0o640)), (None, None));
        assert!(with(0o644).unwrap().contains("chmod o-rwx"));
        assert_eq!(exposure(Path::new("/nowhere/at-all")), None);
    }

    #[test]
    fn random_bytes_differ_and_the_hash_is_sha_256() {
        assert_ne!(random::<32>(), random::<32>());
        let empty = sha256(b"").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
