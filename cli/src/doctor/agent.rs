//! What is wrong with an agent: judged by its status, its configuration and its machine. Pure: facts in, findings out.

use std::time::Duration;

use skidway_agent::status::{FileState, Status};
use skidway_daemon::human::{age, counted, size};

use super::finding::Finding;

/// A line that waits longer is late.
const BEHIND_MS: u64 = 60_000;
/// Named one by one; of more there is a count.
const NAMED_MAX: usize = 5;

/// Holds what a configuration and a machine tell, looked up beforehand.
#[derive(Debug, Default)]
pub struct Machine {
    /// Mistakes of the configuration, one a line. With any, nothing below is known.
    pub mistakes: Vec<String>,
    /// Inputs by name, each with the number of files that match, and those that cannot be read with the reason.
    pub inputs: Vec<Input>,
    /// Folders that cannot be listed, with the reason.
    pub folders: Vec<(String, String)>,
    /// Why the state folder cannot be used.
    pub state_dir: Option<(String, String)>,
    /// How many folders and files may be watched by one user.
    pub inotify_watches_max: Option<u64>,
    /// Doors that are not encrypted and not on this machine.
    pub unencrypted: Vec<String>,
}

/// Is an input with what it finds.
#[derive(Debug, Default, Clone)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its globs.
    pub include: Vec<String>,
    /// Files that match.
    pub files: usize,
    /// Those of them that cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// Files whose topic had to be altered to be a name, with it.
    pub altered: Vec<(String, String)>,
}

/// Judges an agent that answers.
pub fn judge_status(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reason) = &status.refused {
        findings.push(Finding::problem(
            "access",
            format!("the collector does not let the agent in: {reason}"),
            "nothing is shipped; no line is lost as long as its file is there",
            "let it enrol anew with a join token: skidway tokens join, collector.join_token_file (docs/security.md)",
        ));
    } else if status.log_id.is_none() {
        findings.push(Finding::problem(
            "session",
            "the agent has no session with a collector",
            "nothing is shipped",
            "journalctl -u skidway-agent names the address and the reason; skidway doctor --url COLLECTOR",
        ));
    }
    if status.totals.oldest_unacknowledged_ms > BEHIND_MS {
        let oldest = age(Duration::from_millis(status.totals.oldest_unacknowledged_ms));
        findings.push(Finding::warning(
            "lag",
            format!("the oldest line has waited for {oldest}; {} wait", size(status.totals.bytes_behind)),
            "readers see lines late",
            "skidway-agent status names the files; is the collector slow, or agent.read_rate_max low?",
        ));
    }
    if status.totals.lost_bytes > 0 || status.totals.missed_files > 0 {
        let files = counted(status.totals.missed_files, "file");
        findings.push(Finding::problem(
            "loss",
            format!("{} and {files} were gone before they could be read", size(status.totals.lost_bytes)),
            "what is lost does not come back by itself",
            "skidway tail __skidway.events says of which file, and why; keep rotated files longer",
        ));
    }
    let blocked = status.files.iter().filter(|file| file.state == FileState::Blocked);
    let blocked = blocked.map(|file| (file.path.clone(), file.trouble.clone().unwrap_or_default()));
    named(blocked.collect(), |about, what| {
        let todo = "repair what it says; the agent tries again by itself";
        findings.push(Finding::problem(about, what, "its lines do not arrive", todo));
    });
    let skipped = status.skipped.iter().map(|skipped| (skipped.path.clone(), skipped.reason.clone()));
    named(skipped.collect(), |about, what| {
        let todo = "change the file or the input (docs/agent.md); exclude it if it is not wanted";
        findings.push(Finding::warning(about, what, "it is not followed", todo));
    });
    let troubles = status.troubles.iter().map(|trouble| (trouble.path.clone(), trouble.what.clone()));
    named(troubles.collect(), |about, what| {
        let todo = "give the agent's user the right to read it: setfacl -m u:skidway-agent:rX PATH";
        findings.push(Finding::warning(about, what, "new files may be noticed late, or not at all", todo));
    });
    let limits = &status.limits;
    if limits.deleted_bytes * 10 > limits.deleted_bytes_max * 8 {
        findings.push(Finding::warning(
            "deleted files",
            format!("{} of {} that deleted files may hold", size(limits.deleted_bytes), size(limits.deleted_bytes_max)),
            "past it the oldest are given up, and their lines are lost",
            "let the agent catch up, or raise agent.deleted_files_max",
        ));
    }
    findings
}

/// Judges a configuration on its machine.
pub fn judge_machine(machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mistake in &machine.mistakes {
        let todo = "repair it; skidway-agent check --config FILE names all mistakes";
        findings.push(Finding::problem("configuration", mistake, "the agent does not start with it", todo));
    }
    for input in &machine.inputs {
        judge_input(input, &mut findings);
    }
    named(machine.folders.clone(), |about, what| {
        let todo = "give the agent's user the right to list it: setfacl -m u:skidway-agent:rx FOLDER";
        findings.push(Finding::warning(about, what, "files in it are not found", todo));
    });
    if let Some((path, reason)) = &machine.state_dir {
        findings.push(Finding::warning(
            "state_dir",
            format!("{path}: {reason}"),
            "the checkpoint is not kept: after a restart the agent reads again more than it must (nothing is lost)",
            format!("install -d -o skidway-agent -m 0700 {path}"),
        ));
    }
    let files: usize = machine.inputs.iter().map(|input| input.files).sum();
    if let Some(most) = machine.inotify_watches_max.filter(|most| (*most as usize) < files + 1024) {
        findings.push(Finding::warning(
            "inotify",
            format!("{} may be watched, for {}", counted(most, "file"), counted(files as u64, "matching file")),
            "what cannot be watched is noticed at scans only, agent.scan_interval apart",
            "sysctl -w fs.inotify.max_user_watches=524288, and the same in /etc/sysctl.d",
        ));
    }
    for door in &machine.unencrypted {
        findings.push(Finding::warning(
            "collector.urls",
            format!("{door} is not encrypted, and not on this machine"),
            "whoever is on the way reads log lines and the token",
            "name the collector by https:// (docs/security.md)",
        ));
    }
    findings
}

fn judge_input(input: &Input, findings: &mut Vec<Finding>) {
    let about = format!("input {}", input.name);
    if input.files == 0 {
        findings.push(Finding::warning(
            about.clone(),
            format!("no file matches {}", input.include.join(", ")),
            "nothing is followed; that is well if the files are still to come",
            "ls the globs as the agent's user: sudo -u skidway-agent ls PATTERN",
        ));
    }
    named(input.unreadable.clone(), |path, reason| {
        findings.push(Finding::problem(
            about.clone(),
            format!("{path} cannot be read: {reason}"),
            "its lines do not arrive",
            format!("setfacl -m u:skidway-agent:r {path}, or add the agent's user to the group that may read it (adm)"),
        ));
    });
    named(input.altered.clone(), |path, topic| {
        findings.push(Finding::note(
            about.clone(),
            format!("the topic of {path} is {topic}: what no topic name may have became _"),
            "two files may share a topic that were to have their own",
            "change the input's topic template",
        ));
    });
}

/// Names the first few one by one and counts the rest.
fn named(mut all: Vec<(String, String)>, mut say: impl FnMut(String, String)) {
    let more = all.split_off(all.len().min(NAMED_MAX));
    all.into_iter().for_each(|(about, what)| say(about, what));
    if let Some((first, what)) = more.first() {
        say(format!("{} more, such as {first}", more.len()), what.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;
    use Severity::{Note, Problem, Warning};
    use skidway_agent::status::{FileStatus, Limits, SkippedFile, Totals, Trouble};

    fn status() -> Status {
        Status {
            agent: "a".into(),
            log_id: Some("l".into()),
            log_epoch: Some(1),
            session_epoch: Some(1),
            refused: None,
            files: vec![],
            skipped: vec![],
            skipped_unnamed: 0,
            troubles: vec![],
            limits: Limits { deleted_bytes_max: 100, ..Limits::default() },
            totals: Totals::default(),
        }
    }

    fn file(state: FileState) -> FileStatus {
        FileStatus {
            path: "/f".into(),
            source: "s".into(),
            topic: "t".into(),
            partition: None,
            size: 0,
            position: 0,
            bytes_behind: 0,
            oldest_unacknowledged_ms: 0,
            state,
            trouble: Some("permission denied".into()),
        }
    }

    fn seen(findings: Vec<Finding>) -> Vec<(Severity, String)> {
        findings.into_iter().map(|it| (it.severity, it.about)).collect()
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_running_agent_is_found() {
        assert_eq!(judge_status(&status()), []);
        let cases = [
            (Status { log_id: None, ..status() }, Problem, "session"),
            (Status { log_id: None, refused: Some("revoked".into()), ..status() }, Problem, "access"),
            (
                Status { totals: Totals { oldest_unacknowledged_ms: 61_000, ..Totals::default() }, ..status() },
                Warning,
                "lag",
            ),
            (Status { totals: Totals { lost_bytes: 1, ..Totals::default() }, ..status() }, Problem, "loss"),
            (Status { files: vec![file(FileState::Blocked), file(FileState::Idle)], ..status() }, Problem, "/f"),
            (
                Status { skipped: vec![SkippedFile { path: "/s".into(), reason: "r".into() }], ..status() },
                Warning,
                "/s",
            ),
            (Status { troubles: vec![Trouble { path: "/d".into(), what: "w".into() }], ..status() }, Warning, "/d"),
            (
                Status {
                    limits: Limits { deleted_bytes: 90, deleted_bytes_max: 100, ..Limits::default() },
                    ..status()
                },
                Warning,
                "deleted files",
            ),
        ];
        for (status, severity, about) in cases {
            assert_eq!(seen(judge_status(&status)), [(severity, about.to_owned())]);
        }
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_configuration_on_its_machine_is_found() {
        let input = Input { name: "nginx".into(), files: 1, ..Input::default() };
        let good = || Machine { inputs: vec![input.clone()], inotify_watches_max: Some(9999), ..Machine::default() };
        let of = |input: Input| Machine { inputs: vec![input], ..good() };
        let pair = || vec![("/p".to_owned(), "why".to_owned())];
        assert_eq!(judge_machine(&good()), []);
        let cases = [
            (Machine { mistakes: vec!["a.toml:1: no".into()], ..good() }, Problem, "configuration"),
            (of(Input { files: 0, ..input.clone() }), Warning, "input nginx"),
            (of(Input { unreadable: pair(), ..input.clone() }), Problem, "input nginx"),
            (of(Input { altered: pair(), ..input.clone() }), Note, "input nginx"),
            (Machine { folders: pair(), ..good() }, Warning, "/p"),
            (Machine { state_dir: pair().pop(), ..good() }, Warning, "state_dir"),
            (Machine { inotify_watches_max: Some(100), ..good() }, Warning, "inotify"),
            (Machine { unencrypted: vec!["http://logs:7070".into()], ..good() }, Warning, "collector.urls"),
        ];
        for (machine, severity, about) in cases {
            assert_eq!(seen(judge_machine(&machine)), [(severity, about.to_owned())]);
        }
    }

    #[test]
    fn of_many_things_the_first_are_named_and_the_rest_counted() {
        let many = (0..20).map(|at| (format!("/{at}"), "why".to_owned())).collect();
        let mut said = Vec::new();
        named(many, |about, _| said.push(about));
        assert_eq!(said.len(), NAMED_MAX + 1);
        assert_eq!(said.last().map(String::as_str), Some("15 more, such as /5"));
    }
}
