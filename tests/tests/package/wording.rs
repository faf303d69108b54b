//! What packages say: default configurations that are good, manual pages that name every command, a Containerfile without faults.

use super::{PACKAGES, said_by, top};
use skidway_tests::{program, tools};

#[test]
fn default_configurations_have_no_mistakes() {
    for (name, role) in &PACKAGES[..2] {
        let config = top().join(format!("packaging/etc/{role}.toml")).display().to_string();
        let (code, said) = program::run(name, &["check", "--config", &config]);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn default_configurations_stay_on_this_machine() {
    for (_, role) in &PACKAGES[..2] {
        let text = std::fs::read_to_string(top().join(format!("packaging/etc/{role}.toml"))).unwrap();
        let set = text.lines().filter(|line| !line.starts_with('#') && line.contains("7070"));
        assert_eq!(set.filter(|line| line.contains("127.0.0.1:7070")).count(), 1, "{text}");
    }
}

#[test]
fn manual_pages_name_every_command_of_their_program() {
    for (name, _) in &PACKAGES[..2] {
        let page = std::fs::read_to_string(top().join(format!("packaging/man/{name}.8"))).unwrap();
        let help = program::run(name, &["--help"]).1;
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let mut count = 0;
        for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help") {
            assert!(page.contains(&format!("\n.B {command}\n")), "{name}.8 tells of {command}");
            count += 1;
        }
        assert!(count >= 3, "{help}");
    }
}

#[test]
fn the_containerfile_has_no_faults() {
    let tool = tools::folder("SKIDWAY_HADOLINT", "package-tools", &["container"]).join("bin/hadolint");
    said_by(tool.to_str().unwrap(), &[top().join("Containerfile").to_str().unwrap()]);
}
