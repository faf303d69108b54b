//! Tools that a script fetches into a cache folder outside the clone: `scripts/test` runs it beforehand and says where that is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Gives the folder that a variable names, or if nobody has said it that which the script, run with `flags`, fills and names.
///
/// # Panics
/// When the script fails.
pub fn folder(variable: &str, script: &str, flags: &[&str]) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(script);
        let said = Command::new(path).args(flags).stderr(Stdio::inherit()).output().expect("the script starts");
        assert!(said.status.success(), "scripts/{script} fails");
        String::from_utf8_lossy(&said.stdout).trim().into()
    })
}
