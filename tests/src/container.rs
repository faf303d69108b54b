//! Images and containers of buildah, in a store of their own and without isolation but a root of theirs (`chroot`): needs root, no daemon and no network.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::Program;
use crate::site::Site;
use crate::wait;

/// Holds images and containers.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
}

impl Images {
    /// Begins without any.
    pub fn new(site: &Site) -> Self {
        Self { folder: site.path("images") }
    }

    /// Makes a call of `launcher`, whose last word is buildah.
    fn command(&self, launcher: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(launcher[0]);
        command.args(&launcher[1..]).args(["--storage-driver", "vfs", "--root"]).arg(self.folder.join("root"));
        command.arg("--runroot").arg(self.folder.join("run")).args(args).env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// Runs buildah; gives what it printed.
    ///
    /// # Panics
    /// When it fails, or is not there.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        let output = self
            .command(&["buildah"], args)
            .stdin(Stdio::null())
            .output()
            .expect("buildah (scripts/package-tools root)");
        assert!(output.status.success(), "buildah {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes an image of this name from another, or from `scratch`, and what `fill` puts below its root.
    pub fn make(&self, name: &str, from: &str, fill: impl FnOnce(&Path)) {
        let container = self.run(&["from", "--pull-never", from]);
        fill(Path::new(&self.run(&["mount", &container])));
        self.run(&["umount", &container]);
        self.run(&["commit", "--quiet", &container, name]);
        self.run(&["rm", &container]);
    }

    /// Starts a command in a container, with a variable.
    pub fn start(&self, container: &str, variable: &str, command: &[&str], log: &Path) -> Running {
        let args = [&["run", "--env", variable, container, "--"], command].concat();
        Running(Program::spawn("buildah", self.command(&["timeout", LIFE, "buildah"], &args), log))
    }
}

/// Bounds the life of what a test starts, in seconds; `timeout` hands on to all of it what interrupts it.
const LIFE: &str = "600";

/// Holds a command that runs in a container. Stops it when dropped.
#[derive(Debug)]
pub struct Running(Program);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.interrupt();
        self.0.exit_within(wait::PATIENCE);
    }
}
