//! What is in a package: files, modes, owners, what is configuration, what it asks for, and that its programs say what the source says.

use std::process::Command;

use super::{PACKAGES, package_file, said_by, top};

/// Files of a package with their modes; `DOC` and `LICENCE` are where each of the two systems keeps them.
fn expected(name: &str) -> Vec<(String, &'static str)> {
    let mut files = vec![
        (format!("/usr/bin/{name}"), "-rwxr-xr-x"),
        (format!("/usr/share/doc/{name}/CHANGELOG.md"), "-rw-r--r--"),
        (format!("/usr/share/doc/{name}/install.md"), "-rw-r--r--"),
    ];
    match name.strip_prefix("skidway-") {
        Some(role) => files.extend([
            (format!("/etc/skidway/{role}.toml"), "-rw-r--r--"),
            (format!("/usr/lib/systemd/system/{name}.service"), "-rw-r--r--"),
            (format!("/usr/share/doc/{name}/{role}.toml"), "-rw-r--r--"),
            (format!("/usr/share/man/man8/{name}.8.gz"), "-rw-r--r--"),
        ]),
        None => files.extend([
            ("/usr/share/man/man1/skidway.1.gz".to_owned(), "-rw-r--r--"),
            ("/usr/share/man/man1/skidway-tail.1.gz".to_owned(), "-rw-r--r--"),
            ("/usr/share/bash-completion/completions/skidway".to_owned(), "-rw-r--r--"),
            ("/usr/share/fish/vendor_completions.d/skidway.fish".to_owned(), "-rw-r--r--"),
        ]),
    }
    files
}

/// Holds one file of a package: path, mode and owner, such as `-rw-r--r--` and `root/root`.
type File = (String, String, String);

#[track_caller]
fn check(name: &str, files: &[File], further: &[(String, &str)]) {
    for (path, mode) in expected(name).into_iter().chain(further.iter().cloned()) {
        let file = files.iter().find(|(found, _, _)| *found == path);
        let (_, found, _) = file.unwrap_or_else(|| panic!("{name} has {path}: {files:#?}"));
        assert_eq!(found, mode, "{path}");
    }
    for (path, mode, owner) in files {
        assert_eq!(owner, "root/root", "{path}");
        assert!(!mode.contains(['s', 't', 'S', 'T']) && mode.as_bytes()[8] == b'-', "{path}: {mode}");
        // Data is made by the programs; folders for it belong to their users, whom no package's file list can name.
        assert!(!path.starts_with("/var"), "{path}");
    }
    let is_page = |(path, _, _): &&File| path.starts_with("/usr/share/man/man1/");
    let pages = files.iter().filter(is_page).count();
    assert_eq!(pages > 20, name == "skidway", "{pages} manual pages of commands");
    let others = files.len() - pages;
    assert!(others <= expected(name).len() + further.len(), "{name} has files that nobody expects: {files:#?}");
}

#[test]
fn deb_packages_have_their_files_and_nothing_else() {
    for (name, _) in PACKAGES {
        let deb = package_file(name, ".deb");
        let listed = said_by("dpkg-deb", &["--contents", deb.to_str().unwrap()]);
        let files = listed.lines().filter(|line| !line.ends_with('/')).map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[5].trim_start_matches('.').to_owned(), words[0].to_owned(), words[1].replace("0/0", "root/root"))
        });
        let mut further = vec![(format!("/usr/share/doc/{name}/copyright"), "-rw-r--r--")];
        if name == "skidway" {
            further.push(("/usr/share/zsh/vendor-completions/_skidway".to_owned(), "-rw-r--r--"));
        }
        check(name, &files.collect::<Vec<_>>(), &further);
    }
}

#[test]
fn rpm_packages_have_their_files_and_nothing_else() {
    for (name, _) in PACKAGES {
        let rpm = package_file(name, ".rpm");
        let format = "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]";
        let listed = said_by("rpm", &["-qp", "--queryformat", format, rpm.to_str().unwrap()]);
        let files = listed.lines().map(|line| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            (words[2].clone(), words[0].clone(), words[1].clone())
        });
        let mut further = vec![(format!("/usr/share/licenses/{name}/LICENSE"), "-rw-r--r--")];
        if name == "skidway" {
            further.push(("/usr/share/zsh/site-functions/_skidway".to_owned(), "-rw-r--r--"));
        }
        check(name, &files.collect::<Vec<_>>(), &further);
    }
}

#[test]
fn configuration_that_was_changed_is_kept_by_upgrades() {
    for (name, role) in &PACKAGES[..2] {
        let configuration = format!("/etc/skidway/{role}.toml");
        let deb = package_file(name, ".deb");
        let kept = said_by("dpkg-deb", &["--info", deb.to_str().unwrap(), "conffiles"]);
        assert_eq!(kept.trim(), configuration);
        let rpm = package_file(name, ".rpm");
        let flags =
            said_by("rpm", &["-qp", "--queryformat", "[%{FILEFLAGS:fflags} %{FILENAMES}\n]", rpm.to_str().unwrap()]);
        assert!(flags.contains(&format!("cn {configuration}\n")), "{flags}");
    }
}

#[test]
fn packages_ask_for_what_every_system_has() {
    for (name, _) in PACKAGES {
        let deb = package_file(name, ".deb");
        let field = |field: &str| said_by("dpkg-deb", &["--field", deb.to_str().unwrap(), field]).trim().to_owned();
        assert_eq!((field("Package").as_str(), field("Version").as_str()), (name, env!("CARGO_PKG_VERSION")));
        let depends = if name == "skidway" {
            "ca-certificates, libc6 (>= 2.17)"
        } else {
            "ca-certificates, libc6 (>= 2.17), passwd"
        };
        assert_eq!(field("Depends"), depends);
        let rpm = package_file(name, ".rpm");
        let required = said_by("rpm", &["-qp", "--requires", rpm.to_str().unwrap()]);
        let is_known = |line: &&str| {
            ["/bin/sh", "ca-certificates", "glibc >= 2.17", "shadow-utils"].contains(line)
                || line.starts_with("rpmlib(")
                || line.starts_with("config(")
        };
        let surprising: Vec<_> = required.lines().filter(|line| !is_known(line)).collect();
        assert!(surprising.is_empty(), "{name} asks for {surprising:?}");
    }
}

#[test]
fn packages_scripts_are_sound_shell_and_refer_to_their_own_unit_alone() {
    for (name, role) in &PACKAGES[..2] {
        let other = if *role == "agent" { "skidway-collector" } else { "skidway-agent" };
        let mut scripts = Vec::new();
        for script in ["postinst", "prerm", "postrm"] {
            scripts.push(std::fs::read_to_string(top().join(format!("packaging/deb/{role}/{script}"))).unwrap());
        }
        for script in ["post", "preun", "postun"] {
            scripts.push(std::fs::read_to_string(top().join(format!("packaging/rpm/{role}-{script}.sh"))).unwrap());
        }
        for text in scripts {
            assert!(Command::new("sh").args(["-n", "-c", &text]).status().unwrap().success(), "{text}");
            assert!(text.contains(name) || text.contains("#DEBHELPER#"), "{text}");
            assert!(!text.contains(other), "{text}");
        }
    }
}
