//! The systemd units: sound, tightly held, and true to the programs.

use std::path::PathBuf;

use super::{PACKAGES, said_by, top};

fn unit(name: &str) -> PathBuf {
    top().join(format!("systemd/{name}.service"))
}

/// The most exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE_MAX: u32 = 20;

#[test]
fn units_are_exposed_by_no_more_than_two() {
    for (name, _) in &PACKAGES[..2] {
        let said = said_by(
            "systemd-analyze",
            &["security", "--offline=true", "--no-pager", "--threshold=20", unit(name).to_str().unwrap()],
        );
        let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap();
        let level = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let tenths: u32 = level.replace('.', "").parse().unwrap();
        assert!(tenths <= EXPOSURE_MAX, "{name}: {level}\n{said}");
    }
}

#[test]
fn units_have_no_mistakes() {
    // The programs are not installed here, nor are their manual pages: a copy says where they are.
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in &PACKAGES[..2] {
        let text = std::fs::read_to_string(unit(name)).unwrap();
        let text = text.replace("/usr/bin/skidway", "/bin/true skidway").replace("Documentation=man:", "# ");
        let copy = folder.path().join(format!("{name}.service"));
        std::fs::write(&copy, text).unwrap();
        let output =
            std::process::Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains(&format!("{name}.service")), "{said}");
    }
}

#[test]
fn units_say_what_the_packages_promise() {
    for (name, role) in &PACKAGES[..2] {
        let text = std::fs::read_to_string(unit(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            &format!("ExecStart=/usr/bin/{name} run --config /etc/skidway/{role}.toml"),
            &format!("User={name}"),
            &format!("StateDirectory={name}"),
            "Type=notify",
            "WatchdogSec=30s",
            "Restart=on-failure",
            "LimitNOFILE=65536",
            // Whoever needs more says so in a drop-in.
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "WantedBy=multi-user.target",
        ] {
            assert!(lines.contains(&line), "{name}: {line}");
        }
        // Drop-ins of docs/install.md name these; a test boots a machine with them only in the full tier.
        assert!(lines.iter().any(|line| line.starts_with("LoadCredential=")), "{name}");
    }
}
