//! Which files `skidway up` follows, under which topic, and which it leaves alone and why.
//!
//! The agent's own rules decide (its globs, its judgement of text, its file stems), so that what is announced is what happens.
//! Reads the beginnings of files; writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use skidway_agent::config::Input;
use skidway_agent::config::template::Facts;
use skidway_agent::discover::Discovery;
use skidway_agent::discover::content;
use skidway_agent::tail::start::start_of;
use skidway_record::TopicName;

use super::demo::Log;
use super::folders::Folders;
use crate::error::Error;

/// Followed if nothing is named.
const DEFAULT_GLOB: &str = "/var/log/**/*";
/// Login records under /var/log: binary, whatever their names, and often still empty, when nothing shows it.
const LOGIN_RECORDS: [&str; 5] = ["wtmp*", "btmp*", "lastlog*", "faillog*", "tallylog*"];
/// So many bytes of a file show whether it is text.
const JUDGED_BYTES: usize = 4 << 10;
/// Every file gets the topic of its name without rotation suffix and extension.
const TOPIC: &str = "{file_stem}";

/// Holds what will be followed.
#[derive(Debug)]
pub(super) struct Plan {
    /// For the agent; also finds files that are not there yet.
    pub(super) inputs: Vec<Input>,
    /// Files that are there and will be followed, by path.
    pub(super) followed: Vec<Followed>,
    /// Files and folders that are there and will not, by reason.
    pub(super) skipped: BTreeMap<String, Vec<PathBuf>>,
}

/// Names a file and its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) path: PathBuf,
    pub(super) topic: TopicName,
}

impl Plan {
    /// Looks for files now, and says what to follow from now on.
    ///
    /// # Errors
    /// A glob that is none (reject).
    pub(super) fn make(globs: &[String], folders: &Folders, demo: bool) -> Result<Self, Error> {
        // Who wants to see the demo has not asked for /var/log.
        let asked_for_files = !demo || !globs.is_empty();
        let mut inputs: Vec<Input> = demo.then(|| demo_input(folders)).into_iter().collect();
        inputs.extend(asked_for_files.then(|| user_input(globs, folders)));
        let mut skipped = BTreeMap::new();
        let mut followed = follow(&inputs, folders, &mut skipped)?;
        let collisions = collisions(&followed);
        if !collisions.is_empty() {
            inputs.splice(..0, collisions);
            skipped.clear();
            followed = follow(&inputs, folders, &mut skipped)?;
        }
        Ok(Self { inputs, followed, skipped })
    }
}

/// Asks for the globs' files, and for nothing of our own data.
fn user_input(globs: &[String], folders: &Folders) -> Input {
    let include = match globs {
        [] => vec![DEFAULT_GLOB.to_owned()],
        globs => globs.iter().map(|glob| absolute(glob, &folders.working)).collect(),
    };
    let mut exclude = vec![format!("{}/**", escaped(&folders.data))];
    if globs.is_empty() {
        exclude.extend(LOGIN_RECORDS.map(str::to_owned));
    }
    Input { name: "up".to_owned(), include, exclude, ..Input::new(TOPIC) }
}

fn demo_input(folders: &Folders) -> Input {
    let include = with_rotations(&Log::path(&folders.demo()));
    Input { name: "demo".to_owned(), include, ..Input::new(TOPIC) }
}

/// Makes an absolute glob of what was typed: a folder stands for every file below it, and a file that is there for itself,
/// whatever characters its name has.
fn absolute(glob: &str, working: &Path) -> String {
    let path = straightened(&working.join(glob));
    if path.is_dir() {
        format!("{}/**/*", escaped(&path).trim_end_matches('/'))
    } else if path.exists() {
        escaped(&path)
    } else {
        path.display().to_string()
    }
}

/// Takes `.` and `..` out of a path, by name alone.
fn straightened(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                straight.pop();
            }
            other => straight.push(other),
        }
    }
    straight
}

fn escaped(path: &Path) -> String {
    globset::escape(&path.display().to_string())
}

/// Asks for a file, and for what rotation makes of its name.
fn with_rotations(path: &Path) -> Vec<String> {
    let path = escaped(path);
    vec![format!("{path}.[0-9]*"), format!("{path}-[0-9]*"), path]
}

/// Finds the files that are there and sorts them into followed and skipped.
fn follow(
    inputs: &[Input],
    folders: &Folders,
    skipped: &mut BTreeMap<String, Vec<PathBuf>>,
) -> Result<Vec<Followed>, Error> {
    let discovery = Discovery::new(inputs, &folders.working, &folders.agent())
        .map_err(|error| Error::Usage(format!("not a pattern for files: {error}")))?;
    let mut leave = |path: &Path, reason: String| skipped.entry(reason).or_default().push(path.to_owned());
    let found = discovery.scan(
        |_| {},
        |folder, error| {
            if error.kind() != io::ErrorKind::NotFound {
                leave(folder, reason(error));
            }
        },
    );
    let mut followed = Vec::new();
    for found in found {
        match unfit(&found.path) {
            Ok(None) => followed.push(Followed { topic: topic(&inputs[found.input], &found.path), path: found.path }),
            Ok(Some(reason)) => leave(&found.path, reason),
            // It was deleted since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => leave(&found.path, reason(&error)),
        }
    }
    Ok(followed)
}

/// Says why a file cannot be followed, if so.
fn unfit(path: &Path) -> io::Result<Option<String>> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(Some("not a plain file".to_owned()));
    }
    let mut start = [0; JUDGED_BYTES];
    Ok(match start_of(path, &File::open(path)?, &mut start)? {
        Some(read) => content::judge(path, &start[..read]).map(|skip| skip.words().to_owned()),
        None => Some("nothing is in it yet".to_owned()),
    })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to read it".to_owned(),
        _ => error.to_string(),
    }
}

fn topic(input: &Input, path: &Path) -> TopicName {
    input.topic.topic(Facts { host: "", path: &path.display().to_string(), labels: &BTreeMap::new() })
}

/// Makes an input for each file whose topic another folder's file has too. It names the folder before the topic, and as many
/// of the folders above as it takes to tell them apart.
fn collisions(followed: &[Followed]) -> Vec<Input> {
    let mut folders_of: BTreeMap<&TopicName, BTreeSet<&Path>> = BTreeMap::new();
    for file in followed {
        folders_of.entry(&file.topic).or_default().insert(folder(file));
    }
    let taken: BTreeSet<String> = folders_of.keys().map(ToString::to_string).collect();
    let mut inputs: BTreeMap<String, Input> = BTreeMap::new();
    for file in followed {
        let rivals = &folders_of[&file.topic];
        if rivals.len() > 1 {
            let topic = distinct_topic(file, rivals, &taken);
            let input = inputs.entry(topic).or_insert_with_key(|topic| Input::new(topic));
            input.include.extend(with_rotations(&file.path));
        }
    }
    inputs.into_values().collect()
}

fn folder(file: &Followed) -> &Path {
    file.path.parent().unwrap_or(Path::new("/"))
}

fn distinct_topic(file: &Followed, rivals: &BTreeSet<&Path>, taken: &BTreeSet<String>) -> String {
    let levels = folder(file).components().count();
    let names = (1..=levels).map(|level| (level, prefixed(folder(file), level, &file.topic)));
    let is_distinct = |level, name: &String| {
        let rival = |rival: &&&Path| prefixed(rival, level, &file.topic) == *name;
        !taken.contains(name) && rivals.iter().filter(rival).count() == 1
    };
    let mut longest = file.topic.to_string();
    for (level, name) in names {
        if is_distinct(level, &name) {
            return name;
        }
        longest = name;
    }
    longest
}

/// Puts the last folders' names before a topic.
fn prefixed(folder: &Path, levels: usize, topic: &TopicName) -> String {
    let names: Vec<String> = folder
        .components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .map(|component| component.as_os_str().to_string_lossy().into_owned())
        .collect();
    let prefix = names[names.len().saturating_sub(levels)..].join("-");
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = format!("{prefix}-{topic}").chars().map(allowed).collect();
    TopicName::new(&name).map_or_else(|_| topic.to_string(), |name| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes files, plans over them, and gives `path topic` for each followed and `path: reason` for each skipped.
    fn planned(files: &[(&str, &[u8])], globs: &[&str], demo: bool) -> (Vec<String>, Vec<String>) {
        let temp = tempfile::tempdir().unwrap();
        let folders = Folders { working: temp.path().to_owned(), data: temp.path().join("skidway-data") };
        for (path, content) in files {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let plan = Plan::make(&globs, &folders, demo).unwrap();
        let short = |path: &Path| path.strip_prefix(temp.path()).unwrap().display().to_string();
        let followed = plan.followed.iter().map(|file| format!("{} {}", short(&file.path), file.topic)).collect();
        let skipped = plan.skipped.iter().flat_map(|(reason, paths)| paths.iter().map(move |path| (reason, path)));
        (followed, skipped.map(|(reason, path)| format!("{}: {reason}", short(path))).collect())
    }

    #[test]
    fn each_file_gets_the_topic_of_its_name() {
        let files: [(&str, &[u8]); 4] =
            [("app.log", b"x\n"), ("app.log.1", b"x\n"), ("sub/db.log", b""), ("notes.md", b"x")];
        assert_eq!(planned(&files, &["*.log*"], false).0, ["app.log app", "app.log.1 app"]);
        assert_eq!(planned(&files, &["./sub/../app.log"], false).0, ["app.log app"]);
        assert_eq!(planned(&files, &["sub"], false).0, ["sub/db.log db"]);
        assert_eq!(planned(&files, &["**/*.log"], false).0, ["app.log app", "sub/db.log db"]);
        assert!(planned(&files, &["absent*.log"], false).0.is_empty());
    }

    #[test]
    fn files_of_one_name_are_told_apart_by_their_folders() {
        let files: [(&str, &[u8]); 6] = [
            ("apache/access.log", b""),
            ("nginx/access.log", b""),
            ("nginx/access.log.1", b""),
            ("nginx/error.log", b""),
            ("a/x/out.log", b""),
            ("b/x/out.log", b""),
        ];
        let expected = [
            "a/x/out.log a-x-out",
            "apache/access.log apache-access",
            "b/x/out.log b-x-out",
            "nginx/access.log nginx-access",
            "nginx/access.log.1 nginx-access",
            "nginx/error.log error",
        ];
        assert_eq!(planned(&files, &["**/*"], false).0, expected);
    }

    #[test]
    fn a_prefixed_topic_never_falls_on_another_files_topic() {
        let files: [(&str, &[u8]); 3] = [("r/a/x.log", b""), ("r/b/x.log", b""), ("r/c/a-x.log", b"")];
        let expected = ["r/a/x.log r-a-x", "r/b/x.log b-x", "r/c/a-x.log a-x"];
        assert_eq!(planned(&files, &["r"], false).0, expected);
    }

    #[test]
    fn what_is_not_text_is_left_alone_and_named() {
        let files: [(&str, &[u8]); 5] = [
            ("a.log", b"x\n"),
            ("a.log.2.gz", b"\x1f\x8b"),
            ("a.log.3.xz", b""),
            ("utmp", b"\x02\0\0\0~\0\0\0~"),
            ("wtmp", &[0; 64]),
        ];
        let (followed, skipped) = planned(&files, &["*"], false);
        assert_eq!(followed, ["a.log a"]);
        let expected = [
            "utmp: it does not look like text",
            "a.log.3.xz: it is compressed in a format that is not read",
            "a.log.2.gz: nothing is in it yet",
            "wtmp: nothing is in it yet",
        ];
        assert_eq!(skipped, expected);
    }

    #[test]
    fn names_that_look_like_globs_are_taken_as_they_are() {
        let files: [(&str, &[u8]); 2] = [("a[1].log", b""), ("a1.log", b"")];
        assert_eq!(planned(&files, &["a[1].log"], false).0, ["a[1].log a_1_"]);
    }

    #[test]
    fn our_own_data_is_never_followed_but_the_demo_is() {
        let files: [(&str, &[u8]); 4] = [
            ("skidway-data/log/t-0/00000000000000000000.log", b"x"),
            ("skidway-data/agent/checkpoint", b"x"),
            ("skidway-data/demo/access.log", b"x\n"),
            ("web/access.log", b"x\n"),
        ];
        assert_eq!(planned(&files, &["**/*"], false).0, ["web/access.log access"]);
        let expected = ["skidway-data/demo/access.log demo-access", "web/access.log web-access"];
        assert_eq!(planned(&files, &["**/*"], true).0, expected);
    }

    #[test]
    fn a_glob_that_is_none_is_refused() {
        let folders = Folders { working: "/".into(), data: "/d".into() };
        let error = Plan::make(&["a[.log".to_owned()], &folders, false).unwrap_err();
        assert!(matches!(&error, Error::Usage(reason) if reason.contains("a[.log")), "{error}");
    }
}
