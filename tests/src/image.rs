//! A small ext4 file system of its own: an image file, mounted through a loop device. To be filled up, freed, and made read-only.
//!
//! Needs root, or sudo without a password, and loop devices. Unmounted when dropped, also by a panic.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::Site;

/// An error makes it read-only, as distributions mount theirs.
const OPTIONS: &str = "loop,errors=remount-ro";

/// Holds a mounted image.
#[derive(Debug)]
pub struct Image {
    file: PathBuf,
    mount: PathBuf,
}

impl Image {
    /// Makes and mounts an empty file system of `mib` MiB in the test's place.
    ///
    /// # Errors
    /// Says what this machine lacks for it.
    pub fn mount(site: &Site, mib: u64) -> Result<Self, String> {
        let (file, mount) = (site.path("disk.img"), site.path("disk"));
        std::fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        let image = std::fs::File::create(&file).map_err(|error| error.to_string())?;
        image.set_len(mib << 20).map_err(|error| error.to_string())?;
        drop(image);
        // No blocks kept for root: what is full is full for everybody.
        sudo(&["mkfs.ext4", "-q", "-m", "0", "-F", &file.display().to_string()])?;
        sudo(&["mount", "-o", OPTIONS, &file.display().to_string(), &mount.display().to_string()])?;
        let image = Self { file, mount };
        sudo(&["chmod", "777", &image.mount.display().to_string()])?;
        Ok(image)
    }

    /// Gives the folder it is mounted at.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Unmounts it, though files of it may be open.
    ///
    /// # Errors
    /// What the tools say.
    pub fn unmount(&self) -> Result<(), String> {
        sudo(&["umount", "-l", &self.mount.display().to_string()])
    }

    /// Mounts it after [`Image::unmount`].
    ///
    /// # Errors
    /// What the tools say.
    pub fn mount_again(&self) -> Result<(), String> {
        sudo(&["mount", "-o", OPTIONS, &self.file.display().to_string(), &self.mount.display().to_string()])
    }

    /// Unmounts it and mounts it on another loop device. Nobody may have files of it open.
    ///
    /// # Errors
    /// What the tools say.
    pub fn move_to_another_device(&self) -> Result<(), String> {
        let (file, mount) = (self.file.display().to_string(), self.mount.display().to_string());
        let attach = || ask(&["losetup", "--find", "--show", &file]).map(|device| device.trim().to_owned());
        // The device it has is still taken, so this is another one.
        let device = attach()?;
        let moved = sudo(&["umount", &mount])
            .and_then(|()| sudo(&["mount", "-o", OPTIONS.trim_start_matches("loop,"), &device, &mount]));
        // It is detached as soon as nobody uses it any more.
        let detached = sudo(&["losetup", "--detach", &device]);
        moved.and(detached)
    }

    /// Takes all the room there is; it is given back when the guard is dropped. Gives how much it was.
    ///
    /// # Panics
    /// When something but a full disk stops it.
    pub fn fill(&self) -> Filler {
        let path = self.mount.join("filler");
        let mut file = std::fs::File::create(&path).expect("the filler is created");
        let (mut chunk, mut bytes) = (vec![7; 1 << 20], 0);
        while !chunk.is_empty() {
            match file.write(&chunk) {
                Ok(written) => bytes += written as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => chunk.truncate(chunk.len() / 16),
                Err(error) => panic!("the filler cannot be written: {error}"),
            }
        }
        Filler { path, bytes }
    }

    /// Lets the file system find an error and become read-only at once, with files open and writes under way.
    ///
    /// # Errors
    /// Says what this machine lacks for it.
    pub fn break_down(&self) -> Result<(), String> {
        let devices = std::fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let mount = self.mount.display().to_string();
        let device = devices.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            (rest.split(' ').next() == Some(&mount)).then(|| device.trim_start_matches("/dev/").to_owned())
        });
        let device = device.ok_or_else(|| format!("{mount} is not mounted"))?;
        sudo(&["sh", "-c", &format!("echo broken > /sys/fs/ext4/{device}/trigger_fs_error")])
    }

    /// Cuts the power: what the disk holds this very moment is all that is there after it, mounted again. Whoever has files of it open must
    /// have been killed.
    ///
    /// # Errors
    /// What the tools say.
    pub fn lose_power(&self) -> Result<(), String> {
        let (file, mount) = (self.file.display().to_string(), self.mount.display().to_string());
        let kept = format!("{file}.kept");
        // Unmounting writes what the page cache holds: the copy does not have it.
        std::fs::copy(&self.file, &kept).map_err(|error| error.to_string())?;
        sudo(&["umount", &mount])?;
        rustix::fs::rename(&kept, &self.file).map_err(|error| error.to_string())?;
        sudo(&["mount", "-o", OPTIONS, &file, &mount])
    }

    /// Brings a file system that broke down back, as whoever runs the machine would: unmounted, checked, mounted.
    ///
    /// # Errors
    /// What the tools say; nobody may have files of it open.
    pub fn repair(&self) -> Result<(), String> {
        let (file, mount) = (self.file.display().to_string(), self.mount.display().to_string());
        sudo(&["umount", &mount])?;
        // 1: errors were corrected.
        sudo(&["sh", "-c", &format!("e2fsck -fy '{file}' || [ $? -eq 1 ]")])?;
        sudo(&["mount", "-o", OPTIONS, &file, &mount])
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = sudo(&["umount", "-l", &self.mount.display().to_string()]) {
            eprintln!("{error}");
        }
    }
}

/// Holds the room of a disk until it is dropped.
#[derive(Debug)]
pub struct Filler {
    path: PathBuf,
    bytes: u64,
}

impl Filler {
    /// Gives the bytes it took.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("the filler cannot be removed: {error}");
        }
    }
}

/// Runs a command as root.
pub(crate) fn sudo(command: &[&str]) -> Result<(), String> {
    ask(command).map(drop)
}

/// Runs a command as root and gives what it printed.
fn ask(command: &[&str]) -> Result<String, String> {
    let is_root = rustix::process::geteuid().is_root();
    let mut whole = if is_root { Vec::new() } else { vec!["sudo", "-n"] };
    whole.extend_from_slice(command);
    let output = Command::new(whole[0]).args(&whole[1..]).output();
    let output = output.map_err(|error| format!("{whole:?} cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{whole:?} failed: {}", said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
