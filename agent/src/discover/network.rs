//! Which file systems are shared with other machines. A file there is followed by one agent only, the one that the input names: two machines
//! have different device numbers for it, so that nothing else would tell that it is the same file.
//!
//! FUSE is allowed: most of such file systems are local. Those known to be remote are told by their type in `/proc/self/mountinfo`.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rustix::fs::{major, minor, statfs};

/// Magic numbers of `statfs(2)`, as Linux has them.
const NETWORK: [(u64, &str); 16] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0xaad7_aaea, "PanFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
];
const FUSE: u64 = 0x6573_5546;
/// What follows `fuse.` in the types of remote FUSE file systems.
const REMOTE_FUSE: [&str; 14] = [
    "sshfs",
    "glusterfs",
    "ceph-fuse",
    "s3fs",
    "s3backer",
    "goofys",
    "mount-s3",
    "gcsfuse",
    "rclone",
    "davfs",
    "curlftpfs",
    "juicefs",
    "seaweedfs",
    "cephfs",
];

/// Gives the name of a network file system by its magic number, and its type in the list of mounts (asked only of FUSE); `None` if it is local.
pub fn judge(magic: u64, mounted_type: impl FnOnce() -> Option<String>) -> Option<&'static str> {
    if magic == FUSE {
        let mounted = mounted_type()?;
        let remote = mounted.strip_prefix("fuse.")?;
        return REMOTE_FUSE.into_iter().find(|name| *name == remote);
    }
    NETWORK.into_iter().find(|(known, _)| *known == magic).map(|(_, name)| name)
}

/// Says why an agent does not follow a file of a network file system, unless the input's `network_owner` is this agent.
pub fn reason_to_skip(owner: Option<&str>, agent: &str) -> Option<&'static str> {
    match owner {
        Some(owner) if owner == agent => None,
        Some(_) => Some("it is on a network file system, and another agent's (network_owner)"),
        None => Some("it is on a network file system: name the one agent that follows it in network_owner"),
    }
}

/// Remembers which devices are network file systems.
#[derive(Debug, Default)]
pub struct FileSystems(HashMap<u64, Option<&'static str>>);

impl FileSystems {
    /// Gives the name of the network file system that a path of this device is on; `None` if it is local.
    ///
    /// # Errors
    /// As the operating system says (retry).
    pub fn network_of(&mut self, path: &Path, device: u64) -> io::Result<Option<&'static str>> {
        if let Some(known) = self.0.get(&device) {
            return Ok(*known);
        }
        // The kernel's numbers have 32 bits; on some machines the field is signed.
        let magic = statfs(path)?.f_type as u64 & 0xffff_ffff;
        let found = judge(magic, || mounted_type(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, device));
        if let Some(name) = found {
            tracing::info!(path = %path.display(), name, "this is a network file system");
        }
        self.0.insert(device, found);
        Ok(found)
    }
}

/// Finds a device's type in what `/proc/self/mountinfo` says.
fn mounted_type(mounts: &str, device: u64) -> Option<String> {
    let device = format!("{}:{}", major(device), minor(device));
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let (_, rest) = line.split_once(" - ")?;
    rest.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        let cases = [
            (0x6969, None, Some("NFS")),
            (0xff53_4d42, None, Some("CIFS")),
            (0xef53, None, None),
            (0x0102_1994, None, None),
            (FUSE, Some("fuse.sshfs"), Some("sshfs")),
            (FUSE, Some("fuse.ntfs-3g"), None),
            (FUSE, Some("fuse"), None),
            (FUSE, None, None),
        ];
        for (magic, mounted, expected) in cases {
            assert_eq!(judge(magic, || mounted.map(str::to_owned)), expected, "{magic:x} {mounted:?}");
        }
    }

    #[test]
    fn a_file_of_a_network_file_system_is_its_owners_alone() {
        assert_eq!(reason_to_skip(Some("a"), "a"), None);
        assert!(reason_to_skip(Some("b"), "a").is_some_and(|reason| reason.contains("another agent's")));
        assert!(reason_to_skip(None, "a").is_some_and(|reason| reason.contains("network_owner")));
    }

    #[test]
    fn a_devices_type_is_found_among_the_mounts() {
        let mounts = "36 35 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n40 36 0:52 / /mnt rw - fuse.sshfs me@there:/ rw\n";
        assert_eq!(mounted_type(mounts, rustix::fs::makedev(0, 52)).as_deref(), Some("fuse.sshfs"));
        assert_eq!(mounted_type(mounts, rustix::fs::makedev(0, 53)), None);
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(FileSystems::default().network_of(temp.path(), 1).unwrap(), None);
    }
}
