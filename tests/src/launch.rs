//! What a program can be started under (`Agent::under`) to meet a machine unlike this one: fewer rights, other system files, few inotify
//! watches, another clock. Each may be beyond what this machine allows: [`works`] tells.

use std::path::Path;
use std::process::{Command, Stdio};

/// Where Debian, Fedora and Alpine keep the library that shifts a program's clock.
const CLOCK_LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Tells whether this machine can start programs so.
pub fn works(launcher: &[String]) -> bool {
    let Some((first, rest)) = launcher.split_first() else { return true };
    let mut command = Command::new(first);
    command.args(rest).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Takes away root's right to read and write everybody's files; others have none anyway.
pub fn bound_by_permissions() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let rights = "-dac_override,-dac_read_search";
    vec!["setpriv".into(), format!("--bounding-set={rights}"), format!("--inh-caps={rights}")]
}

/// Puts one file in place of another, for this program alone. What is written to it later is seen at once.
pub fn seeing(file: &Path, instead_of: &str) -> Vec<String> {
    // Without root, in a user's own namespace.
    let own = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let script = format!("mount --bind '{}' {instead_of} && exec \"$@\"", file.display());
    ["unshare", own, "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Leaves so many inotify watches.
pub fn with_inotify_watches(count: u32) -> Vec<String> {
    let script = format!("echo {count} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
    ["unshare", "-Ur", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Shifts the time of day by what a file says at each moment (`+0`, `-1h`), but not the clock that only goes forward; `None` if the library
/// for it is not installed.
pub fn with_clock_of(file: &Path) -> Option<Vec<String>> {
    let library = CLOCK_LIBRARIES.into_iter().find(|path| Path::new(path).exists())?;
    let file = file.display();
    let variables = [
        "env".to_owned(),
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME_TIMESTAMP_FILE={file}"),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        // Files keep their own times, as they do when a clock jumps.
        "NO_FAKE_STAT=1".to_owned(),
    ];
    Some(variables.to_vec())
}
