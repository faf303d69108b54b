//! The packages on a clean Debian machine, booted: installed, shipping as they are and by TLS with tokens, upgraded with data and positions kept,
//! removed.
//!
//! The machine has only what debootstrap gives it. What is typed and configured there is what docs/install.md says, block by block.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use skidway_tests::tls::Authority;
use skidway_tests::{Document, Machine, Site, machine, tools};

use super::{package, packages, said_by};

/// What the page calls the next version.
const NEXT: &str = "0.2.0";

/// What the page calls the collector's machine.
const HOST: &str = "collector.example.com";

/// Where the settings are by which root's `skidway` finds the collector, once it takes some.
const SETTINGS: &str = "/root/skidway.env";

/// Gives what docs/install.md shows in this language.
fn blocks<const N: usize>(language: &str) -> [String; N] {
    let blocks = Document::of("docs/install.md").blocks(language);
    blocks.try_into().unwrap_or_else(|blocks| panic!("{N} blocks of {language} have their place here: {blocks:#?}"))
}

/// Reads topic `logs`, as root would who has logged in.
fn tail() -> String {
    format!("[ ! -e {SETTINGS} ] || . {SETTINGS}; skidway tail logs --from earliest")
}

/// Counts records whose value begins so.
fn count(machine: &Machine, words: &str) -> usize {
    machine.try_run(&tail()).1.lines().filter(|line| line.starts_with(words)).count()
}

fn wait_for_lines(machine: &Machine, words: &str, lines: usize) {
    machine.wait_for(&format!("{} | grep -c '^{words}'", tail()), &format!("{lines}\n"));
    assert_eq!(count(machine, words), lines, "each line once");
}

fn write(machine: &Machine, line: &str) {
    machine.run(&format!("echo '{line}' >> /var/log/app.log"));
}

fn wait_until_active(machine: &Machine) {
    for name in ["skidway-agent", "skidway-collector"] {
        machine.wait_for(&format!("systemctl is-active {name}"), "active\n");
    }
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
    let [first, look, for_others, join, enrol, restart, next, remove] = blocks("sh");
    let [collector, agent] = blocks("toml");

    installs(&machine, &first);
    ships_from_its_default_configuration(&machine, &look);
    runs_as_its_own_users(&machine);
    is_restarted_when_it_is_killed(&machine);
    takes_drop_ins(&machine);
    let authority = Authority::new();
    let issued = authority.issue(HOST);
    for (name, text) in [("ca.pem", &authority.pem), ("cert.pem", &issued.certificate), ("key.pem", &issued.key)] {
        std::fs::write(machine.file("/root").join(name), text).unwrap();
    }
    ships_by_tls_with_tokens(&machine, [&for_others, &join, &enrol, &restart], [&collector, &agent]);
    upgrades(&machine, &next);
    removes(&machine, &remove, &before);
}

fn installs(machine: &Machine, block: &str) {
    machine.run("printf 'before 1\\nbefore 2\\n' > /var/log/app.log && chown root:adm /var/log/app.log && chmod 640 /var/log/app.log");
    let said = machine.run(&format!("cd /packages/first; {block}"));
    assert!(!said.contains("warning"), "{said}");
    machine.run("systemd-analyze verify --man=no skidway-agent.service skidway-collector.service");
    wait_until_active(machine);
    for name in ["skidway-agent", "skidway-collector"] {
        assert_eq!(machine.run(&format!("systemctl is-enabled {name}")), "enabled\n");
    }
    assert!(machine.run("id skidway-agent").contains("(adm)"));
}

fn ships_from_its_default_configuration(machine: &Machine, block: &str) {
    wait_for_lines(machine, "before", 2);
    write(machine, "while 1");
    wait_for_lines(machine, "while", 1);
    let said = machine.run(block);
    assert!(said.contains("before 1\n") && said.contains("/var/log/app.log"), "{said}");
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
    }
    wait_until_active(machine);
    write(machine, "killed 1");
    wait_for_lines(machine, "killed", 1);
}

/// Each drop-in of the page is taken, and the first gives what it says.
fn takes_drop_ins(machine: &Machine) {
    machine.run("groupadd postgres; mkdir -p /var/spool/app; printf 'secret 1\\n' > /var/log/root.log; chmod 600 /var/log/root.log");
    let [read_all, group, home, spool, files] = blocks("ini");
    for (name, drop_in) in
        [("agent", &group), ("agent", &home), ("agent", &spool), ("collector", &files), ("agent", &read_all)]
    {
        let folder = format!("/etc/systemd/system/skidway-{name}.service.d");
        machine.run(&format!("mkdir -p {folder}; cat > {folder}/override.conf <<'END'\n{drop_in}END"));
        machine.run(&format!("systemctl daemon-reload; systemctl restart skidway-{name}"));
        machine.run(&format!("systemd-analyze verify --man=no skidway-{name}.service"));
        if drop_in == &read_all {
            wait_for_lines(machine, "secret", 1);
        }
        machine.run(&format!("rm -r {folder}; systemctl daemon-reload; systemctl restart skidway-{name}"));
    }
    machine.run("rm /var/log/root.log; groupdel postgres; rmdir /var/spool/app");
    wait_until_active(machine);
}

/// The page's walk from the default configuration to one for other machines: nobody gets in without a token or speaks in the clear, the
/// agent enrols by itself and goes on from where it was, and no secret is where others can read it.
fn ships_by_tls_with_tokens(machine: &Machine, [keep, join, enrol, restart]: [&str; 4], [collector, agent]: [&str; 2]) {
    machine.run(&format!("echo '127.0.0.1 {HOST}' >> /etc/hosts"));
    machine.run(&format!("cd /root; {keep}"));
    machine.run(&format!("cat > /etc/skidway/collector.toml <<'END'\n{collector}END"));
    let settings: String =
        join.lines().filter(|line| line.starts_with("export ")).map(|line| format!("{line}\n")).collect();
    machine.run(&format!("cat > {SETTINGS} <<'END'\n{settings}END"));
    machine.run(&format!("cd /root; {join}"));
    machine.run(&format!("cd /root; {enrol}"));
    let inputs = "sed -n '/^\\[\\[inputs/,$p' /etc/skidway/agent.toml";
    machine.run(&format!(
        "{inputs} > /root/inputs && (cat <<'END'; cat /root/inputs) > /etc/skidway/agent.toml\n{agent}END"
    ));
    write(machine, "encrypted 1");
    machine.run(restart);
    wait_for_lines(machine, "encrypted", 1);
    assert_eq!(count(machine, "before"), 2, "it goes on where it was");

    let (code, said) = machine.try_run("skidway tail logs --from earliest");
    assert!(code == Some(1) && said.contains("TLS"), "in the clear: {said}");
    let (code, said) = machine.try_run(&format!(". {SETTINGS}; unset SKIDWAY_TOKEN_FILE; skidway topics"));
    assert!(code == Some(1) && said.contains("token"), "without a token: {said}");
    let stat = "stat -c '%a %U' /etc/credstore/* /var/lib/skidway-agent/credential";
    assert_eq!(machine.run(stat), "600 root\n600 root\n600 root\n600 skidway-agent\n");
    let secrets = machine.run("cat /etc/credstore/*token; grep -v PRIVATE /etc/credstore/*key; cat /root/join-token");
    let journal = machine.run("journalctl --no-pager -o cat");
    assert!(journal.contains("enrol") && secrets.lines().all(|secret| !journal.contains(secret)), "{journal}");
    // An agent that has its credential needs its join token no more.
    machine.run("rm /etc/credstore/skidway-agent.join-token && systemctl restart skidway-agent");
    wait_until_active(machine);
}

/// What was changed in the configuration stays, and so do records and positions; nothing comes twice.
fn upgrades(machine: &Machine, block: &str) {
    machine.run("echo '# ours' >> /etc/skidway/collector.toml");
    let processes = || machine.run("systemctl show --value --property MainPID skidway-agent skidway-collector");
    let old = processes();
    machine.run(&format!("cd /packages/next; {block}"));
    wait_until_active(machine);
    for name in ["skidway-agent", "skidway-collector"] {
        assert!(machine.run(&format!("dpkg-query --show {name}")).contains(NEXT));
    }
    assert_ne!(processes(), old, "both were restarted");
    assert!(machine.run("cat /etc/skidway/collector.toml").contains("# ours"));
    write(machine, "after 1");
    wait_for_lines(machine, "after", 1);
    for (words, lines) in [("before", 2), ("while", 1), ("killed", 1), ("encrypted", 1)] {
        assert_eq!(count(machine, words), lines, "{words}");
    }
    // An agent's own credential only writes; to compare takes a token that reads, too.
    let token = "skidway tokens create --name verify --scope commit --scope consume --topics '*,__skidway.events' --agent \"$(cat /etc/machine-id)\"";
    let config = "sed 's/^join_token_file.*/token_file = \"\\/root\\/verify-token\"/' /etc/skidway/agent.toml > /root/verify.toml";
    machine.run(&format!(". {SETTINGS}; {token} > /root/verify-token; {config}"));
    let verified = machine.run("skidway-agent verify --config /root/verify.toml");
    assert!(verified.contains("0 missing, 0 doubled"), "{verified}");
}

/// Removal leaves configuration and data, purging users alone (docs/install.md).
fn removes(machine: &Machine, block: &str, before: &BTreeSet<String>) {
    let [remove, purge] = block.lines().collect::<Vec<_>>().try_into().unwrap();
    for package in ["skidway-agent", "skidway-collector", "skidway"] {
        machine.run(&remove.replace("skidway-agent", package));
    }
    for name in ["skidway-agent", "skidway-collector"] {
        assert_ne!(machine.try_run(&format!("systemctl is-active {name}")).1, "active\n");
        machine.run(&format!("test -d /var/lib/{name}"));
    }
    machine.run("test -f /etc/skidway/collector.toml");
    let purged =
        ["skidway-agent", "skidway", "skidway-collector"].map(|it| machine.run(&purge.replace("skidway-agent", it)));
    let [.., said] = purged;
    assert!(said.contains("Deleting /var/lib/skidway-collector"), "{said}");
    // What we put there ourselves.
    machine.run("rm -r /etc/credstore /etc/skidway/cert.pem /etc/skidway/ca.pem /etc/hosts /root/*; rmdir --ignore-fail-on-non-empty /etc/skidway");
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
    package(&next, Some(NEXT));
    let [first, upgrade, erase] = blocks("sh rpm");
    let root = site.path("root");
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&image).arg(&root).status();
    assert!(copied.unwrap().success());
    let root = root.to_str().unwrap();
    // The root is no RPM system: what packages need is there, but RPM has not heard of it.
    let rpm = |folder: &std::path::Path, args: &str| {
        let mut command = Command::new("rpm");
        command.args(["--root", root, "--nodeps"]).args(args.split_whitespace()).current_dir(folder);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("scriptlet failed"), "rpm {args}: {said}");
    };
    let inside = |script: &str| said_by("chroot", &[root, "sh", "-c", script]);
    // Runs a block of the page: rpm from here, into the root, all else in there.
    let run = |folder: &std::path::Path, block: &str| {
        for line in block.lines().map(|line| line.split('#').next().unwrap_or_default()) {
            match line.strip_prefix("rpm ") {
                Some(args) => rpm(folder, args),
                // Nothing is booted there in which a service could start.
                None => drop(inside(&line.replace("enable --now", "enable"))),
            }
        }
    };
    run(packages(), &first);
    assert!(inside("id skidway-agent").contains("(adm)"));
    assert_eq!(inside("stat -c '%U %a' /var/lib/skidway-collector"), "skidway-collector 750\n");
    assert_eq!(inside("systemctl is-enabled skidway-agent skidway-collector"), "enabled\nenabled\n");
    inside("skidway-collector check --config /etc/skidway/collector.toml && echo '# ours' >> /etc/skidway/agent.toml");
    run(&next, &upgrade);
    assert!(inside("cat /etc/skidway/agent.toml").contains("# ours"));
    run(&next, &erase);
    rpm(&next, "--erase skidway-collector skidway");
    assert_eq!(
        inside("ls /etc/skidway; ls /usr/bin/skidway* 2>/dev/null; ls -d /var/lib/skidway-*"),
        "agent.toml.rpmsave\n/var/lib/skidway-agent\n/var/lib/skidway-collector\n"
    );
}
