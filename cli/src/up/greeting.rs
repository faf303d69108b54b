//! What `skidway up` says once it runs: what is followed, what is not, where the data is, how to read it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::files::Plan;
use super::folders::Folders;
use skidway_daemon::human::{Align, Table, counted};

/// So many files are listed one by one.
const FILES_SHOWN: usize = 20;
/// So many skipped files are named for each reason.
const SKIPPED_SHOWN: usize = 3;
/// In examples when nothing is followed yet.
const EXAMPLE_TOPIC: &str = "TOPIC";

/// Writes the greeting, every line ended.
pub(super) fn greeting(plan: &Plan, folders: &Folders, listen: SocketAddr) -> String {
    let topic = plan.followed.first().map_or(EXAMPLE_TOPIC, |file| file.topic.as_str());
    let url = format!("http://{listen}");
    let skidway =
        if listen.port() == 7070 && listen.ip().is_loopback() { String::new() } else { format!(" --url {url}") };
    let mut text = followed(plan);
    text.push_str(&skipped(&plan.skipped));
    let lines = [
        format!("Data is kept in {}", folders.data.display()),
        String::new(),
        "Read it:".to_owned(),
        format!("  skidway{skidway} tail {topic} --follow"),
        format!("  curl -N '{url}/v1/topics/{topic}/stream?from=earliest'"),
        format!("  skidway{skidway} topics"),
        String::new(),
        format!("Listening on {url}; Ctrl-C stops in order, losing nothing."),
    ];
    text + &lines.join("\n") + "\n"
}

fn followed(plan: &Plan) -> String {
    if plan.followed.is_empty() {
        return "No file to follow yet; the first one that matches is.\n".to_owned();
    }
    let mut text = format!("Following {}:\n", counted(plan.followed.len() as u64, "file"));
    let mut table = Table::new([("  TOPIC", Align::Left), ("FILE", Align::Left)]);
    for file in plan.followed.iter().take(FILES_SHOWN) {
        table.row([format!("  {}", file.topic), file.path.display().to_string()]);
    }
    text.push_str(&table.to_string());
    if let Some(more) = plan.followed.len().checked_sub(FILES_SHOWN).filter(|more| *more > 0) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  and {more} more; `skidway topics` lists all topics");
    }
    text
}

fn skipped(skipped: &BTreeMap<String, Vec<PathBuf>>) -> String {
    let line = |(reason, paths): (&String, &Vec<PathBuf>)| {
        let shown: Vec<String> = paths.iter().take(SKIPPED_SHOWN).map(|path| path.display().to_string()).collect();
        let more = match paths.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("Skipping ({reason}): {}{more}\n", shown.join(", "))
    };
    skipped.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::files::Followed;
    use skidway_record::TopicName;

    fn plan(topics: &[&str], skipped: &[(&str, usize)]) -> Plan {
        let followed = |topic: &&str| Followed {
            path: format!("/var/log/{topic}.log").into(),
            topic: TopicName::new(topic).unwrap(),
        };
        let paths = |count| (0..count).map(|index| PathBuf::from(format!("/x/{index}"))).collect();
        Plan {
            inputs: Vec::new(),
            followed: topics.iter().map(followed).collect(),
            skipped: skipped.iter().map(|(reason, count)| ((*reason).to_owned(), paths(*count))).collect(),
        }
    }

    fn folders() -> Folders {
        Folders { working: "/home/me".into(), data: "/home/me/skidway-data".into() }
    }

    #[test]
    fn the_greeting_says_what_is_followed_and_how_to_read_it() {
        let plan = plan(&["app", "nginx-access"], &[("it is compressed", 5), ("no permission to read it", 1)]);
        let expected = "\
Following 2 files:
  TOPIC         FILE
  app           /var/log/app.log
  nginx-access  /var/log/nginx-access.log
Skipping (it is compressed): /x/0, /x/1, /x/2 and 2 more
Skipping (no permission to read it): /x/0
Data is kept in /home/me/skidway-data

Read it:
  skidway tail app --follow
  curl -N 'http://127.0.0.1:7070/v1/topics/app/stream?from=earliest'
  skidway topics

Listening on http://127.0.0.1:7070; Ctrl-C stops in order, losing nothing.
";
        assert_eq!(greeting(&plan, &folders(), SocketAddr::from(([127, 0, 0, 1], 7070))), expected);
    }

    #[test]
    fn another_address_is_in_every_example() {
        let text = greeting(&plan(&[], &[]), &folders(), SocketAddr::from(([127, 0, 0, 1], 8080)));
        assert!(text.starts_with("No file to follow yet"), "{text}");
        assert!(text.contains("skidway --url http://127.0.0.1:8080 tail TOPIC"), "{text}");
        assert!(text.contains("curl -N 'http://127.0.0.1:8080/v1"), "{text}");
    }

    #[test]
    fn a_long_list_is_cut() {
        let text = greeting(&plan(&["t"; 25], &[]), &folders(), SocketAddr::from(([127, 0, 0, 1], 7070)));
        assert_eq!(text.matches("/var/log/t.log").count(), FILES_SHOWN);
        assert!(text.contains("  and 5 more;"), "{text}");
    }
}
