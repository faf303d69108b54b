//! The packages on a clean Debian machine, booted: installed, shipping as they are, upgraded with data and positions kept, removed.
//!
//! The machine has only what debootstrap gives it; nothing is configured but what the packages bring.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use skidway_tests::{Machine, Site, machine, tools};

use super::{package, packages, said_by};

/// What the next packages are called.
const NEXT: &str = "0.1.0+next";

/// Counts records whose value begins so.
fn count(machine: &Machine, words: &str) -> usize {
    let said = machine.try_run("skidway tail logs --from earliest").1;
    said.lines().filter(|line| line.starts_with(words)).count()
}

fn wait_for_lines(machine: &Machine, words: &str, lines: usize) {
    machine.wait_for(&format!("skidway tail logs --from earliest | grep -c '^{words}'"), &format!("{lines}\n"));
    assert_eq!(count(machine, words), lines, "each line once");
}

/// Lists all files but those of the kernel, of dpkg itself, and of what is written while a machine runs.
fn files(machine: &Machine) -> BTreeSet<String> {
    let own = "-path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /packages -o -path /var/lib/dpkg \
               -o -path /var/log -o -path /var/tmp -o -path /var/lib/systemd -o -path /var/cache";
    let found = machine.run(&format!("find / \\( {own} \\) -prune -o -print"));
    found.lines().map(str::to_owned).collect()
}

#[test]
fn deb_packages_install_ship_upgrade_and_go_on_a_clean_machine() {
    assert!(machine::works(), "root, systemd-nspawn and nsenter (scripts/package-tools root)");
    let image = tools::folder("SKIDWAY_DEBIAN_ROOT_IMAGE", "debian-root", &[]);
    let site = Site::new();
    let offered = site.path("packages");
    std::fs::create_dir(&offered).unwrap();
    said_by("cp", &["-r", packages().to_str().unwrap(), offered.join("first").to_str().unwrap()]);
    package(&offered.join("next"), Some(NEXT));
    let machine = Machine::boot(&site, &image, &offered);
    let before = files(&machine);

    install(&machine);
    ships_from_its_default_configuration(&machine);
    runs_as_its_own_users(&machine);
    is_restarted_when_it_is_killed(&machine);
    upgrades(&machine);
    removes(&machine, &before);
}

fn install(machine: &Machine) {
    machine.run("printf 'before 1\\nbefore 2\\n' > /var/log/app.log && chown root:adm /var/log/app.log && chmod 640 /var/log/app.log");
    let said = machine.run("dpkg --install /packages/first/*.deb");
    assert!(!said.contains("warning"), "{said}");
    machine.run("systemd-analyze verify --man=no skidway-agent.service skidway-collector.service");
    for name in ["skidway-agent", "skidway-collector"] {
        machine.wait_for(&format!("systemctl is-active {name}"), "active\n");
        assert_eq!(machine.run(&format!("systemctl is-enabled {name}")), "enabled\n");
    }
    assert!(machine.run("id skidway-agent").contains("(adm)"));
}

fn ships_from_its_default_configuration(machine: &Machine) {
    wait_for_lines(machine, "before", 2);
    machine.run("printf 'while 1\\n' >> /var/log/app.log");
    wait_for_lines(machine, "while", 1);
}

fn runs_as_its_own_users(machine: &Machine) {
    for name in ["skidway-agent", "skidway-collector"] {
        let property =
            |key: &str| machine.run(&format!("systemctl show --value --property {key} {name}")).trim().to_owned();
        let process = property("MainPID");
        assert_eq!(machine.run(&format!("stat -c %U /proc/{process}")).trim(), name);
        let status = machine.run(&format!("cat /proc/{process}/status"));
        for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(line), "{name}: {line} in {status}");
        }
        // As many as the unit grants, or the machine that this one is in has.
        let limits = machine.run(&format!("grep 'Max open files' /proc/{process}/limits"));
        let soft = limits.split_whitespace().nth(3).and_then(|limit| limit.parse::<u64>().ok());
        assert!(soft.is_some_and(|limit| limit > 1024), "{limits}");
        let folder = machine.run(&format!("stat -c '%U:%G %a' /var/lib/{name}"));
        assert_eq!(folder.trim(), format!("{name}:{name} 750"));
    }
}

fn is_restarted_when_it_is_killed(machine: &Machine) {
    for name in ["skidway-agent", "skidway-collector"] {
        machine.run(&format!("systemctl kill --signal KILL {name}"));
        machine.wait_for(&format!("systemctl show --value --property NRestarts {name}"), "1\n");
        machine.wait_for(&format!("systemctl is-active {name}"), "active\n");
    }
    machine.run("printf 'killed 1\\n' >> /var/log/app.log");
    wait_for_lines(machine, "killed", 1);
}

/// What was changed in the configuration stays, and so do records and positions; nothing comes twice.
fn upgrades(machine: &Machine) {
    machine.run("echo '# ours' >> /etc/skidway/collector.toml");
    let processes = || machine.run("systemctl show --value --property MainPID skidway-agent skidway-collector");
    let old = processes();
    machine.run("dpkg --install /packages/next/*.deb");
    for name in ["skidway-agent", "skidway-collector"] {
        assert!(machine.run(&format!("dpkg-query --show {name}")).contains(NEXT));
        machine.wait_for(&format!("systemctl is-active {name}"), "active\n");
    }
    assert_ne!(processes(), old, "both were restarted");
    assert!(machine.run("cat /etc/skidway/collector.toml").contains("# ours"));
    machine.run("printf 'after 1\\n' >> /var/log/app.log");
    wait_for_lines(machine, "after", 1);
    for (words, lines) in [("before", 2), ("while", 1), ("killed", 1)] {
        assert_eq!(count(machine, words), lines, "{words}");
    }
    let verified = machine.run("skidway-agent verify --config /etc/skidway/agent.toml");
    assert!(verified.contains("0 missing, 0 doubled"), "{verified}");
}

/// Removal leaves configuration and data, purging users alone (docs/install.md).
fn removes(machine: &Machine, before: &BTreeSet<String>) {
    machine.run("dpkg --remove skidway-agent skidway-collector skidway");
    for name in ["skidway-agent", "skidway-collector"] {
        assert_ne!(machine.try_run(&format!("systemctl is-active {name}")).1, "active\n");
        machine.run(&format!("test -d /var/lib/{name}"));
    }
    machine.run("test -f /etc/skidway/collector.toml");
    let said = machine.run("dpkg --purge skidway-agent skidway-collector skidway");
    assert!(said.contains("Deleting /var/lib/skidway-collector"), "{said}");
    let left: Vec<_> = files(machine).difference(before).cloned().collect();
    // Copies that useradd makes of the user database.
    let left: Vec<_> = left.iter().filter(|path| !path.starts_with("/etc/") || !path.ends_with('-')).collect();
    assert!(left.is_empty(), "{left:?}");
    machine.run("getent passwd skidway-agent skidway-collector");
}

#[test]
fn rpm_packages_install_upgrade_and_go_in_a_clean_root() {
    let image = tools::folder("SKIDWAY_DEBIAN_ROOT_IMAGE", "debian-root", &[]);
    let site = Site::new();
    let next = site.path("next");
    package(&next, Some("0.1.1"));
    let root = site.path("root");
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&image).arg(&root).status();
    assert!(copied.unwrap().success());
    let root = root.to_str().unwrap();
    // The root is no RPM system: what packages need is there, but RPM has not heard of it.
    let rpm = |args: &[&str], folder: Option<&std::path::Path>| {
        let mut command = Command::new("rpm");
        command.args(["--root", root, "--nodeps"]).args(args);
        let files = folder.map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        command.args(files.into_iter().flatten().filter(|path| path.extension().is_some_and(|end| end == "rpm")));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("scriptlet failed"), "rpm {args:?}: {said}");
    };
    let inside = |script: &str| said_by("chroot", &[root, "sh", "-c", script]);
    rpm(&["--install"], Some(packages()));
    assert!(inside("id skidway-agent").contains("(adm)"));
    assert_eq!(inside("stat -c '%U %a' /var/lib/skidway-collector"), "skidway-collector 750\n");
    inside("skidway-collector check --config /etc/skidway/collector.toml && echo '# ours' >> /etc/skidway/agent.toml");
    rpm(&["--upgrade"], Some(&next));
    assert!(inside("cat /etc/skidway/agent.toml").contains("# ours"));
    rpm(&["--erase", "skidway-agent", "skidway-collector", "skidway"], None);
    assert_eq!(
        inside("ls /etc/skidway; ls /usr/bin/skidway* 2>/dev/null; ls -d /var/lib/skidway-*"),
        "agent.toml.rpmsave\n/var/lib/skidway-agent\n/var/lib/skidway-collector\n"
    );
}
