//! What the operator asks for. Reading it opens nothing but the configuration and the machine's own id.

pub mod input;
pub mod reload;
pub mod template;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skidway_daemon::config::{ByteSize, Document, Mistakes, Section};
use skidway_daemon::telemetry::Logging;
use skidway_record::AgentId;

pub use input::{Input, PartitionBy, StartAt};

/// Comes before the environment variables that override keys: `SKIDWAY_AGENT__COLLECTOR__URLS` and so on.
pub const ENV_PREFIX: &str = "SKIDWAY_AGENT";

/// Holds all settings of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who the agent is and how it treats this machine.
    pub agent: Agent,
    /// Where it ships to, and how.
    pub collector: Collector,
    /// Which files it follows. The order matters: a file in several inputs belongs to the first.
    pub inputs: Vec<Input>,
    /// How it logs.
    pub log: Logging,
}

/// Holds table `[agent]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// `id`: names the agent for ever. Default: `/etc/machine-id`, else the boot id. Set it where machines are cloned.
    pub id: AgentId,
    /// `state_dir`: where the checkpoint is. Default `/var/lib/skidway-agent`. Losing it loses nothing.
    pub state_dir: PathBuf,
    /// `admin_listen`: serves health, metrics and status. Default `127.0.0.1:7071`; `""` is off.
    pub admin_listen: Option<SocketAddr>,
    /// `admin_allow_unprotected`: lets other machines reach it. Default no.
    pub admin_allow_unprotected: bool,
    /// `[agent.labels]`: headers on every record.
    pub labels: BTreeMap<String, String>,
    /// `scan_interval`: how often folders are listed beside watching them. Default `10s`, `100ms` to `1h`. Lower it where
    /// files change without the kernel telling (network file systems).
    pub scan_interval: Duration,
    /// `memory_bytes_max`: how many encoded bytes may wait for acknowledgement. Default `12MiB`, `2MiB` to `1GiB`. Raise it
    /// when the collector is far away and the line is fast.
    pub memory_bytes_max: u64,
    /// `open_files_max`: how many followed files are held open; past it the least recently read are set aside, and opened again when they
    /// grow. Default `0`: as many as the process may, less 64. Lower it if other programs of the same user need descriptors.
    pub open_files_max: usize,
    /// `read_rate_max`: how many bytes are read from files per second, all together. Default `0`: as many as can be. Set it where catching up
    /// after an outage takes too much disk, CPU or network from others.
    pub read_rate_max: u64,
    /// `renamed_follow`: how long a renamed file is followed after its last growth. Default `15m`.
    pub renamed_follow: Duration,
    /// `copy_wait`: how long a file that looks like a copy of a followed one is held after its last growth, for its original to be truncated
    /// (logrotate's copytruncate). Default `10s`, `100ms` to `1h`. Raise it if copying large files pauses for longer: they would be shipped
    /// twice.
    pub copy_wait: Duration,
    /// `deleted_files_max`: how many bytes of deleted files are kept on disk until they are read. Default `1GiB`.
    pub deleted_files_max: u64,
    /// `deleted_age_max`: how long a deleted file is kept open with bytes unread. Default `1h`.
    pub deleted_age_max: Duration,
    /// `health_age_max`: how old the oldest byte not acknowledged may be, and how long the collector may leave a request unanswered, until
    /// `/healthz` and `/readyz` say so. Default `5m`, up to `30d`; `0s` is never. Raise it where the collector is away for longer as a rule.
    pub health_age_max: Duration,
    /// `shutdown_timeout`: how long a stopping agent waits for acknowledgements. Default `20s`.
    pub shutdown_timeout: Duration,
}

/// Holds table `[collector]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// `urls`: doors to one log, tried in order. Default `["http://127.0.0.1:7070"]`.
    pub urls: Vec<reqwest::Url>,
    /// `token_file`: holds the bearer token. It is read again when the collector refuses it.
    pub token_file: Option<PathBuf>,
    /// `join_token_file`: holds a join token, with which the agent gets a credential of its own when the collector asks for one; it is kept in
    /// `state_dir`, and the file is not needed any more then.
    pub join_token_file: Option<PathBuf>,
    /// `compression_level`: of zstd. Default 1, 1 to 19. Raise it where the network is dearer than the CPU.
    pub compression_level: i32,
    /// `linger`: how long lines are collected under load. Default `12ms`, up to `1s`. A lone line never waits.
    /// Lower it if lines must arrive sooner while many are written, at the price of CPU; raise it where the agent may cost less still.
    pub linger: Duration,
    /// `request_timeout`: when a request without an answer is sent again. Default `30s`, `100ms` to `10m`.
    pub request_timeout: Duration,
    /// `on_new_log`: what to do when the collector serves another log than before.
    pub on_new_log: OnNewLog,
    /// `[collector.tls]`.
    pub tls: Tls,
}

/// Holds table `[collector.tls]`; all optional.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tls {
    /// `ca_file`: PEM; the only certificates trusted. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// `cert_file`: PEM; the agent's own certificate.
    pub cert_file: Option<PathBuf>,
    /// `key_file`: PEM; its key.
    pub key_file: Option<PathBuf>,
}

/// Says what to do when the collector serves another log than the one shipped to before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNewLog {
    /// Ship nothing, say so, ask again.
    #[default]
    Refuse,
    /// Ship what the old log had not acknowledged, and all that follows.
    Continue,
    /// Ship every file from its beginning.
    Replay,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            id: default_id(),
            state_dir: PathBuf::from("/var/lib/skidway-agent"),
            admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 7071))),
            admin_allow_unprotected: false,
            labels: BTreeMap::new(),
            scan_interval: Duration::from_secs(10),
            memory_bytes_max: 12 << 20,
            open_files_max: 0,
            read_rate_max: 0,
            renamed_follow: Duration::from_secs(15 * 60),
            copy_wait: Duration::from_secs(10),
            deleted_files_max: 1 << 30,
            deleted_age_max: Duration::from_secs(60 * 60),
            health_age_max: Duration::from_secs(5 * 60),
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            urls: vec![reqwest::Url::parse("http://127.0.0.1:7070").expect("a valid URL")],
            token_file: None,
            join_token_file: None,
            compression_level: 1,
            linger: Duration::from_millis(12),
            request_timeout: Duration::from_secs(30),
            on_new_log: OnNewLog::default(),
            tls: Tls::default(),
        }
    }
}

impl Default for Config {
    /// An agent without inputs; whoever embeds it adds them.
    fn default() -> Self {
        Self { agent: Agent::default(), collector: Collector::default(), inputs: Vec::new(), log: Logging::default() }
    }
}

impl Config {
    /// Reads a file and the environment.
    ///
    /// # Errors
    /// Every mistake, with file, line, key and reason.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let document = Document::load(Some(path), ENV_PREFIX)?;
        let config = Self::read(&document.section());
        document.finish()?;
        Ok(config)
    }

    /// Reads a document; mistakes are left in it.
    pub fn read(root: &Section<'_>) -> Self {
        let agent = Agent::read(&root.section("agent"));
        let collector = Collector::read(&root.section("collector"));
        let inputs = input::read_all(root, &agent.labels);
        Self { agent, collector, inputs, log: Logging::read(&root.section("log")) }
    }
}

impl Agent {
    fn read(agent: &Section<'_>) -> Self {
        let default = Self::default();
        let id = agent
            .optional::<String>("id")
            .and_then(|id| AgentId::new(&id).map_err(|error| agent.mistake("id", error.to_string())).ok());
        let size = |key, default, min| agent.within(key, ByteSize(default), ByteSize(min)..=ByteSize(1 << 50)).0;
        let admin_listen: Option<SocketAddr> = agent.get("admin_listen", default.admin_listen);
        let admin_allow_unprotected = agent.get("admin_allow_unprotected", default.admin_allow_unprotected);
        if admin_listen.is_some_and(|it| !it.ip().to_canonical().is_loopback()) && !admin_allow_unprotected {
            let reason = "other machines would reach it, without TLS and unasked, and see file names and how shipping stands. Listen on 127.0.0.1, or, \
                          if that is what you want, set agent.admin_allow_unprotected = true";
            agent.mistake("admin_listen", reason);
        }
        Self {
            id: id.unwrap_or(default.id),
            state_dir: agent.get("state_dir", default.state_dir),
            admin_listen,
            admin_allow_unprotected,
            labels: agent.get("labels", default.labels),
            scan_interval: agent.within("scan_interval", default.scan_interval, ms(100)..=hours(1)),
            memory_bytes_max: agent
                .within("memory_bytes_max", ByteSize(default.memory_bytes_max), ByteSize::mib(2)..=ByteSize::gib(1))
                .0,
            open_files_max: agent.within("open_files_max", default.open_files_max, 0..=10_000_000),
            read_rate_max: size("read_rate_max", default.read_rate_max, 0),
            renamed_follow: agent.within("renamed_follow", default.renamed_follow, ms(1000)..=hours(24 * 30)),
            copy_wait: agent.within("copy_wait", default.copy_wait, ms(100)..=hours(1)),
            deleted_files_max: size("deleted_files_max", default.deleted_files_max, 0),
            deleted_age_max: agent.within("deleted_age_max", default.deleted_age_max, ms(1000)..=hours(24 * 30)),
            health_age_max: agent.within("health_age_max", default.health_age_max, ms(0)..=hours(24 * 30)),
            shutdown_timeout: agent.within("shutdown_timeout", default.shutdown_timeout, ms(0)..=hours(1)),
        }
    }
}

impl Collector {
    fn read(collector: &Section<'_>) -> Self {
        let default = Self::default();
        let on_new_log = [("refuse", OnNewLog::Refuse), ("continue", OnNewLog::Continue), ("replay", OnNewLog::Replay)];
        let (token_file, join_token_file) = (collector.optional("token_file"), collector.optional("join_token_file"));
        if token_file.is_some() && join_token_file.is_some() {
            collector.mistake("join_token_file", "means nothing with token_file: the agent shows that token");
        }
        Self {
            urls: read_urls(collector, default.urls),
            token_file,
            join_token_file,
            compression_level: collector.within("compression_level", default.compression_level, 1..=19),
            linger: collector.within("linger", default.linger, ms(0)..=ms(1000)),
            request_timeout: collector.within("request_timeout", default.request_timeout, ms(100)..=ms(600_000)),
            on_new_log: collector.choice("on_new_log", default.on_new_log, &on_new_log),
            tls: Tls::read(&collector.section("tls")),
        }
    }
}

impl Tls {
    fn read(tls: &Section<'_>) -> Self {
        let read = Self {
            ca_file: tls.optional("ca_file"),
            cert_file: tls.optional("cert_file"),
            key_file: tls.optional("key_file"),
        };
        if read.cert_file.is_some() != read.key_file.is_some() {
            tls.mistake("", "cert_file and key_file belong together");
        }
        read
    }
}

fn read_urls(collector: &Section<'_>, default: Vec<reqwest::Url>) -> Vec<reqwest::Url> {
    let Some(written) = collector.optional::<Vec<String>>("urls") else { return default };
    if written.is_empty() {
        collector.mistake("urls", "names no collector");
    }
    let mut urls = Vec::new();
    for text in written {
        match reqwest::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => urls.push(url),
            Ok(_) => collector.mistake("urls", format!("{text:?} is neither http:// nor https://")),
            Err(error) => collector.mistake("urls", format!("{text:?} is not a URL: {error}")),
        }
    }
    urls
}

/// Gives the machine's own id, else that of this boot; an id that survives the state folder.
fn default_id() -> AgentId {
    let candidates = ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"];
    let read = |path: &&str| AgentId::new(std::fs::read_to_string(path).ok()?.trim()).ok();
    candidates.iter().find_map(read).unwrap_or_else(|| AgentId::new("agent").expect("a valid id"))
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let document = Document::parse("agent.toml", text).unwrap();
        let config = Config::read(&document.section());
        document.finish().map(|()| config).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn the_reference_file_says_what_the_defaults_are() {
        let reference = read(include_str!("../../../configs/agent.toml")).unwrap();
        let default = Config::default();
        assert_eq!(Agent { id: default.agent.id.clone(), labels: BTreeMap::new(), ..reference.agent }, default.agent);
        assert_eq!(reference.collector, default.collector);
        assert_eq!(reference.log, default.log);
        let input = &reference.inputs[0];
        assert_eq!(
            *input,
            Input { include: input.include.clone(), exclude: input.exclude.clone(), ..Input::new("nginx") }
        );
    }

    /// Gives each key of the reference whose comment says `Range: A to B`, with both.
    fn ranges(reference: &str) -> Vec<(&str, String, String)> {
        let (mut comment, mut found) = (String::new(), Vec::new());
        for line in reference.lines() {
            if let Some(text) = line.strip_prefix("# ") {
                comment += text;
                comment.push(' ');
                continue;
            }
            let range = comment.split_once("Range: ").and_then(|(_, range)| range.split_once(" to "));
            if let (Some((key, _)), Some((least, rest))) = (line.split_once(" = "), range) {
                found.push((key, least.to_owned(), rest.split(['.', ' ']).next().unwrap().to_owned()));
            }
            comment.clear();
        }
        found
    }

    #[test]
    fn the_ranges_in_the_reference_file_are_those_of_the_code() {
        let reference = include_str!("../../../configs/agent.toml");
        let literal =
            |value: &str| if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("\"{value}\"") };
        let ranges = ranges(reference);
        assert!(ranges.len() >= 17, "{ranges:?}");
        for (key, least, most) in ranges {
            let with = |value: &str| {
                let set = |line: &str| match line.split_once(" = ") {
                    Some((name, _)) if name == key => format!("{key} = {}\n", literal(value)),
                    _ => format!("{line}\n"),
                };
                read(&reference.lines().map(set).collect::<String>())
            };
            let (count, unit) = most.split_at(most.find(|c: char| !c.is_ascii_digit()).unwrap_or(most.len()));
            let past = format!("{}{unit}", count.parse::<u64>().unwrap() + 1);
            assert!(with(&least).is_ok() && with(&most).is_ok(), "{key}: {:?}", (with(&least), with(&most)));
            assert!(with(&past).unwrap_err().contains(key), "{key} = {past}");
            let below = least.replace(|c: char| c.is_ascii_digit(), "0");
            assert!(least.starts_with('0') || with(&below).is_err(), "{key} = {below}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line_and_key() {
        let mistakes = read(concat!(
            "[agent]\nid = 'a b'\nadmin_lisen = ''\n[collector]\nurls = ['ftp://x', 'nonsense']\ncompression_level = 42\n",
            "[[inputs]]\ninclude = []\ntopic = '{hots}'\n[[inputs]]\ninclude = ['/a[']\ntopic = 't'\npartition_by = 'key'\n",
            "[[inputs]]\ninclude = ['/b']\ntopic = 't'\n",
        ))
        .unwrap_err();
        for part in [
            "agent.toml:2: agent.id: agent id \"a b\" is not valid",
            "agent.toml:3: agent.admin_lisen: unknown key; did you mean \"admin_listen\"?",
            "agent.toml:5: collector.urls: \"ftp://x\" is neither",
            "agent.toml:5: collector.urls: \"nonsense\" is not a URL",
            "agent.toml:6: collector.compression_level: expected 1 to 19",
            "agent.toml:8: inputs.0.include: names no file",
            "agent.toml:9: inputs.0.topic: {hots} is none of",
            "agent.toml:11: inputs.1.include: ",
            "inputs.1.key: is missing",
            "inputs.2.name: \"t\" names an earlier input too",
        ] {
            assert!(mistakes.contains(part), "{part}\nnot in\n{mistakes}");
        }
    }

    #[test]
    fn other_machines_reach_the_admin_door_only_in_so_many_words() {
        let with = |keys: &str| read(&format!("[agent]\n{keys}\n[[inputs]]\ninclude = ['/a']\ntopic = 't'\n"));
        for listen in ["0.0.0.0:7071", "[::]:7071", "10.0.0.1:7071"] {
            let error = with(&format!("admin_listen = '{listen}'")).unwrap_err();
            assert!(error.contains("agent.toml:2: agent.admin_listen: other machines"), "{error}");
            assert!(with(&format!("admin_listen = '{listen}'\nadmin_allow_unprotected = true")).is_ok());
        }
        for listen in ["", "127.0.0.1:7071", "[::1]:7071"] {
            assert!(with(&format!("admin_listen = '{listen}'")).is_ok(), "{listen}");
        }
    }

    #[test]
    fn ways_to_join_that_do_not_go_together_are_mistakes() {
        let mistakes_of = |keys: &str| {
            let inputs = format!("[[inputs]]\ninclude = ['/a']\ntopic = 't'\n{keys}\n");
            read(&inputs).err().unwrap_or_default()
        };
        for (keys, part) in [
            ("container = 'cri'\nmultiline = { preset = 'java' }", ""),
            ("container = 'docker'\nlong_lines = 'truncate'\nline_bytes_max = '60KiB'", ""),
            ("long_lines = 'dead_letter'\nencoding = 'utf-16'", ""),
            ("container = 'podman'", "inputs.0.container: \"podman\" is none of cri, docker, auto"),
            ("container = 'cri'\nencoding = 'latin1'", "inputs.0.encoding: means nothing with container"),
            ("container = 'auto'\nlong_lines = 'truncate'", "inputs.0.long_lines: needs line_bytes_max"),
            ("multiline = { preset = 'go' }\nlong_lines = 'truncate'", "inputs.0.long_lines: cannot be chosen"),
            ("multiline = { preset = 'go' }\nencoding = 'utf-16'", "inputs.0.multiline: cannot join lines of UTF-16"),
            ("multiline = { mode = 'continue', pattern = '^ ' }", ""),
            ("multiline = { mode = 'start' }", "inputs.0.multiline: needs one of"),
            ("long_lines = 'drop'", "inputs.0.long_lines: "),
        ] {
            let mistakes = mistakes_of(keys);
            assert!(mistakes.contains(part) && mistakes.is_empty() == part.is_empty(), "{keys}: {mistakes}");
        }
    }

    #[test]
    fn an_agent_without_inputs_is_a_mistake() {
        assert!(read("").unwrap_err().contains("inputs: at least one [[inputs]] is needed"));
    }
}
