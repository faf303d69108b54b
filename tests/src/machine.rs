//! A clean Debian machine: a root made by debootstrap, and systemd booted in it (`systemd-nspawn`), with a loopback interface of its own and no
//! way out. Needs root; [`Machine::works`] tells.
//!
//! Ends the machine when dropped. Never touches the system it runs on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::site::Site;
use crate::wait;

/// Holds a booted machine.
#[derive(Debug)]
pub struct Machine {
    nspawn: Child,
    root: PathBuf,
    leader: u32,
}

/// Tells whether this system can have such machines.
pub fn works() -> bool {
    let has = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    rustix::process::geteuid().is_root() && has("systemd-nspawn") && has("nsenter")
}

impl Machine {
    /// Boots a copy of the root `image` at `site`, with `files` (a folder) at its /packages.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn boot(site: &Site, image: &Path, files: &Path) -> Self {
        let root = site.path("root");
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(image).arg(&root).status();
        assert!(copied.expect("cp starts").success(), "the root is copied");
        let log = std::fs::File::create(site.path("machine.log")).expect("a file is created");
        let mut command = Command::new("systemd-nspawn");
        command.args(["--register=no", "--keep-unit", "--private-network", "--boot", "--quiet", "--console=pipe"]);
        command.arg(format!("--bind-ro={}:/packages", files.display())).arg("-D").arg(&root);
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a file handle can be cloned")).stdout(log);
        let nspawn = command.spawn().expect("systemd-nspawn starts");
        let mut machine = Self { nspawn, root, leader: 0 };
        wait::until("the machine is up", || {
            // The first child only prepares, and is succeeded by the machine's init.
            machine.leader = child_of(machine.nspawn.id())?;
            let state = machine.try_run("systemctl is-system-running").1;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        machine
    }

    /// Runs a shell command in it as root; gives exit code and all that was printed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_run(&self, script: &str) -> (Option<i32>, String) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--all", "sh", "-c", &format!("exec 2>&1; {script}")]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        let output = command.stdin(Stdio::null()).output().expect("nsenter starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Does so, and gives what was printed.
    ///
    /// # Panics
    /// When the command fails.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let (code, said) = self.try_run(script);
        assert_eq!(code, Some(0), "{script}\n{said}");
        said
    }

    /// Runs a command again and again until what it prints contains `words`.
    ///
    /// # Panics
    /// When it never does.
    #[track_caller]
    pub fn wait_for(&self, script: &str, words: &str) -> String {
        wait::until(&format!("`{script}` says {words:?}"), || {
            let said = self.try_run(script).1;
            said.contains(words).then_some(said)
        })
    }

    /// Gives the path of one of its files, as seen from here.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

fn child_of(parent: u32) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?.split(' ').next()?.parse().ok()
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = "journalctl --no-pager -n 60; systemctl --no-pager --failed";
            eprintln!("--- the machine's journal:\n{}", self.try_run(last).1);
        }
        // With its init go all processes of the machine, and then nspawn.
        let init = child_of(self.nspawn.id()).and_then(|init| Pid::from_raw(init.cast_signed()));
        let _gone_already = init.map(|init| kill_process(init, Signal::KILL));
        let _gone_already = self.nspawn.wait();
    }
}
