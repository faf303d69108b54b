//! A share of the processor for one process: a control group of its own, of either version. Removed when dropped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait;

const PERIOD_US: u64 = 100_000;

/// Holds a process to its share.
#[derive(Debug)]
pub struct CpuShare {
    group: PathBuf,
}

impl CpuShare {
    /// Lets a process have `percent` of one core.
    ///
    /// # Errors
    /// Says what this machine lacks for it.
    pub fn hold(pid: u32, percent: u64) -> Result<Self, String> {
        let first = Path::new("/sys/fs/cgroup/cpu");
        let is_first = first.join("cgroup.procs").exists();
        let root = if is_first { first } else { Path::new("/sys/fs/cgroup") };
        let share = Self { group: root.join(format!("skidway-test-{pid}")) };
        let told = |error: std::io::Error| format!("{}: {error}", share.group.display());
        std::fs::create_dir(&share.group).map_err(told)?;
        let quota = PERIOD_US * percent / 100;
        let write = |file: &str, text: String| std::fs::write(share.group.join(file), text);
        let limited = if is_first {
            write("cpu.cfs_period_us", PERIOD_US.to_string())
                .and_then(|()| write("cpu.cfs_quota_us", quota.to_string()))
        } else {
            write("cpu.max", format!("{quota} {PERIOD_US}"))
        };
        limited.and_then(|()| write("cgroup.procs", pid.to_string())).map_err(told)?;
        Ok(share)
    }
}

impl Drop for CpuShare {
    fn drop(&mut self) {
        // A group goes only after the last of its processes.
        let gone = || (std::fs::remove_dir(&self.group).is_ok() || !self.group.exists()).then_some(());
        if wait::within(Duration::from_secs(5), gone).is_none() {
            eprintln!("{} cannot be removed", self.group.display());
        }
    }
}
