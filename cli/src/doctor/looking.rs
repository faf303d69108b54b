//! The facts that a machine tells about an agent's configuration: which files match, which can be read, what may be watched. Looks only.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::{Access, access};
use skidway_agent::Config;
use skidway_agent::config::template::Facts;
use skidway_agent::discover::Discovery;

use super::agent::{Input, Machine};

/// Files opened for a try; of more the first are taken for all.
const TRIED_MAX: usize = 10_000;

/// Looks at what a configuration asks for.
pub fn machine(path: &Path) -> Machine {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => {
            let mistakes = mistakes.to_string().lines().map(str::to_owned).collect();
            return Machine { mistakes, ..Machine::default() };
        }
    };
    let input = |input: &skidway_agent::config::Input| Input {
        name: input.name.clone(),
        include: input.include.clone(),
        ..Input::default()
    };
    let mut machine = Machine {
        inputs: config.inputs.iter().map(input).collect(),
        state_dir: unusable(&config.agent.state_dir),
        inotify_watches_max: number("/proc/sys/fs/inotify/max_user_watches"),
        unencrypted: config.collector.urls.iter().filter(|url| is_exposed(url)).map(without_secrets).collect(),
        ..Machine::default()
    };
    files(&config, &mut machine);
    machine
}

fn files(config: &Config, machine: &mut Machine) {
    let working_folder = std::env::current_dir().unwrap_or_default();
    let Ok(discovery) = Discovery::new(&config.inputs, &working_folder, &config.agent.state_dir) else { return };
    let mut folders = HashMap::new();
    let trouble = |folder: &Path, error: &std::io::Error| {
        folders.insert(folder.display().to_string(), error.to_string());
    };
    let found = discovery.scan(|_| {}, trouble);
    machine.folders = folders.into_iter().collect();
    machine.folders.sort();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for (at, found) in found.iter().enumerate() {
        let (asked, input) = (&config.inputs[found.input], &mut machine.inputs[found.input]);
        input.files += 1;
        if at >= TRIED_MAX {
            continue;
        }
        let path = found.path.display().to_string();
        let facts = Facts { host: host.trim(), path: &path, labels: &config.agent.labels };
        let (wanted, topic) = (asked.topic.fill(facts), asked.topic.topic(facts));
        if wanted != topic.as_str() {
            input.altered.push((path.clone(), topic.as_str().to_owned()));
        }
        if let Err(error) = File::open(&found.path) {
            input.unreadable.push((path, error.to_string()));
        }
    }
}

/// Says why a folder cannot be used. One that is not there is made by the agent, if it may.
fn unusable(folder: &Path) -> Option<(String, String)> {
    let nearest = folder.ancestors().find(|folder| folder.exists())?;
    let shown = folder.display().to_string();
    if !nearest.is_dir() {
        return Some((shown, "it is no folder".to_owned()));
    }
    let refused = access(nearest, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some((shown, format!("this user may not write to {}: {refused}", nearest.display())))
}

fn is_exposed(url: &reqwest::Url) -> bool {
    url.scheme() == "http" && !crate::client::is_local(url)
}

fn without_secrets(url: &reqwest::Url) -> String {
    url.origin().ascii_serialization()
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_held_against_its_machine() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().display().to_string();
        std::fs::write(temp.path().join("a b.log"), "x\n").unwrap();
        std::fs::write(temp.path().join("file"), "x\n").unwrap();
        let config = temp.path().join("agent.toml");
        let text = format!(
            "[agent]\nid = \"a\"\nstate_dir = \"{folder}/file/state\"\n[collector]\nurls = [\"http://u:p@logs.example:7070\", \"http://127.0.0.1:7070\"]\n\
             [[inputs]]\nname = \"one\"\ninclude = [\"{folder}/*.log\"]\ntopic = \"{{file_stem}}\"\n[[inputs]]\nname = \"none\"\ninclude = [\"{folder}/no/*.log\"]\ntopic = \"t\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let machine = machine(&config);
        assert_eq!(machine.mistakes, Vec::<String>::new());
        assert_eq!(machine.inputs.iter().map(|input| input.files).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(machine.inputs[0].altered.first().map(|(_, topic)| topic.as_str()), Some("a_b"));
        assert!(machine.state_dir.is_some_and(|(_, reason)| reason == "it is no folder"));
        assert_eq!(machine.unencrypted, ["http://logs.example:7070"]);
        std::fs::write(&config, "nonsense = 1").unwrap();
        assert!(!super::machine(&config).mistakes.is_empty());
    }
}
