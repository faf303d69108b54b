//! One of our programs as a child process: started, asked to stop, frozen, killed. Its output goes to a file.
//!
//! Ends the child when dropped, so that no test leaves one behind.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{self, PATIENCE};

/// Where tests' programs listen.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Holds a running program of ours.
#[derive(Debug)]
pub struct Program {
    name: String,
    pid: Pid,
    exits: Receiver<ExitStatus>,
    exit: Option<ExitStatus>,
    log: PathBuf,
}

/// Finds a built program beside the running test, or in `SKIDWAY_BIN_DIR`.
///
/// # Panics
/// When it was not built; says how to build it.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("SKIDWAY_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let folder = test.parent().expect("a program lies in a folder");
        if folder.ends_with("deps") { folder.parent().expect("deps lies in a folder").into() } else { folder.into() }
    });
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: build it first with `cargo build --bins`", path.display());
    path
}

/// Runs one of our programs to its end and gives its exit code and what it said.
///
/// # Panics
/// When it cannot be started or does not end.
pub fn run(name: &str, args: &[&str]) -> (Option<i32>, String) {
    run_with(name, args, &[])
}

/// Does the same with further environment variables.
///
/// # Panics
/// As [`run`].
pub fn run_with(name: &str, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let args: Vec<String> = args.iter().map(|&arg| arg.into()).collect();
    let mut program = Program::start_with(name, &args, variables, log.path());
    let Some(exit) = program.exit_within(PATIENCE) else {
        panic!("{name} {args:?} does not end; it said:\n{}", program.last_words());
    };
    (exit.code(), program.said())
}

impl Program {
    /// Starts a program whose output is appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, args: &[String], log: &Path) -> Self {
        Self::start_with(name, args, &[], log)
    }

    /// Starts it through another program that takes its place, such as `prlimit --nofile=100`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_under(launcher: &[String], name: &str, args: &[String], log: &Path) -> Self {
        let Some((first, rest)) = launcher.split_first() else { return Self::start(name, args, log) };
        let mut command = Command::new(first);
        command.args(rest).arg(binary(name)).args(args);
        Self::spawn(name, command, log)
    }

    /// Does the same with further environment variables.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(name: &str, args: &[String], variables: &[(&str, &str)], log: &Path) -> Self {
        let mut command = Command::new(binary(name));
        command.args(args).envs(variables.iter().copied());
        Self::spawn(name, command, log)
    }

    pub(crate) fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(log).expect("the log file opens");
        let errors = output.try_clone().expect("a file handle can be cloned");
        command.stdin(Stdio::null()).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} starts: {error}"));
        let pid = Pid::from_child(&child);
        let (exited, exits) = sync_channel(1);
        std::thread::spawn(move || child.wait().map(|status| exited.send(status)));
        Self { name: name.into(), pid, exits, exit: None, log: log.into() }
    }

    /// Gives its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Gives all it has said so far, this start and earlier ones.
    pub fn said(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Tells whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.exit_within(Duration::ZERO).is_none()
    }

    /// Waits for its end; `None` if it still runs after `patience`.
    pub fn exit_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.exits.recv_timeout(patience).ok();
        }
        self.exit
    }

    /// Asks it to stop (SIGTERM) and waits for its end; gives its exit code.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let Some(exit) = self.exit_within(PATIENCE) else {
            panic!("{} did not stop; it said:\n{}", self.name, self.last_words());
        };
        exit.code()
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.exit_within(PATIENCE);
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Interrupts it (SIGINT), as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Stops it in mid-step (SIGSTOP), as a hanging machine would, and waits until every thread of it stands still.
    ///
    /// # Panics
    /// When it goes on.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        wait::until(&format!("{} stands still", self.name), || self.stands_still().then_some(()));
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let state = |stat: String| stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        // A thread that has ended is gone, or a zombie.
        let mut states = threads.filter_map(|thread| state(std::fs::read_to_string(thread.path().join("stat")).ok()?));
        states.all(|state| "TtZX".contains(state))
    }

    /// Lets a frozen program go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Counts the files it holds open that have no name any more.
    pub fn deleted_files_held(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten();
        let is_deleted = |path: &PathBuf| path.display().to_string().ends_with(" (deleted)");
        folder.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(is_deleted).count()
    }

    /// Gives the end of what it said, for a failing test's message.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            // The child may have ended by itself this very moment: then there is nobody to signal, and that is fine.
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.runs() {
            self.kill9();
        }
        if std::thread::panicking() {
            eprintln!("--- last words of {} ({}):\n{}", self.name, self.log.display(), self.last_words());
        }
    }
}

/// Gives the user and system time a process has used, in seconds, and its peak memory in bytes.
///
/// # Panics
/// When the process is gone.
pub fn used(pid: u32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    ((ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64, peak.unwrap_or_default() << 10)
}

/// Gives a port of the loopback interface that was free a moment ago, and that this process has not given before.
///
/// A test's programs are stopped and started again at their ports. So these lie below those that the kernel gives to clients and to who asks
/// for any port (from 32768 on): such a one could be somebody's in between.
///
/// # Panics
/// When the machine has none.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Test processes side by side begin at different places.
    let first = std::process::id().wrapping_mul(7919);
    (0..PORTS.len())
        .map(|_| PORTS.start + (first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32) as u16)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Creates a file and the folders above it.
///
/// # Panics
/// When the disk refuses.
pub fn create(path: &Path) -> File {
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders are created");
    File::create(path).expect("a file is created")
}
