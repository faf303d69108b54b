//! What must not leave the house: secrets of configurations, of the files they name, and whatever looks like one in any text.
//!
//! Configurations are written anew without comments; members that name secrets are emptied. What was found there, and what the files they
//! name hold, is then looked for in everything else.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use toml::{Table, Value};

const REMOVED: &str = "(removed)";
/// Shorter words are in every text.
const SECRET_CHARS_MIN: usize = 6;
/// A file that holds a secret is small.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// Names of members whose values are secrets, unless they end as a file's or a number's do.
static NAMES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(token|secret|passw|password|credential|authorization|api.?key|access_?key|private|sas$|signature)")
});
/// What looks like a secret in any text, with what goes in its place.
static LOOKS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    [
        // URLs with somebody's name and password.
        (pattern(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\x22<>]*@"), "${1}"),
        (pattern(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), "${1} (removed)"),
        (
            pattern(r"(?i)([?&;](?:[a-z0-9_.-]*(?:token|secret|password|signature|credential|key)|sig)=)[^&\s'\x22]+"),
            "${1}(removed)",
        ),
        (
            pattern(
                r#"(?i)("?\b[a-z0-9_.-]*(?:token|secret|passw(?:or)?d|authorization|api_?key|access_?key)"?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;}"']+)"#,
            ),
            "${1}(removed)",
        ),
        (pattern(r"(/v1/beacons/)[A-Za-z0-9_-]+"), "${1}(removed)"),
    ]
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is well-formed")
}

/// Knows the secrets that were met.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Gives a configuration without its secrets, and remembers them. One that cannot be read is not passed on.
    pub fn configuration(&mut self, path: &Path) -> String {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        // A mistake's text would show the line it is in.
        let table = read.and_then(|text| text.parse::<Table>().map_err(|_| "it is no TOML".to_owned()));
        match table {
            Ok(mut table) => {
                table.iter_mut().for_each(|(name, value)| self.clean(name, value));
                toml::to_string(&table).unwrap_or_default()
            }
            Err(reason) => format!("cannot read {}: {reason}\n", path.display()),
        }
    }

    fn clean(&mut self, name: &str, value: &mut Value) {
        match value {
            Value::Table(table) => table.iter_mut().for_each(|(name, value)| self.clean(name, value)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.clean(name, value)),
            Value::String(text) if name.ends_with("_file") => self.learn_file(Path::new(text.as_str())),
            Value::String(text) if NAMES.is_match(name) => {
                self.learn(text);
                *text = REMOVED.to_owned();
            }
            _ => {}
        }
    }

    /// Learns what a file holds, if it is small and can be read; that of certificates does no harm.
    fn learn_file(&mut self, path: &Path) {
        let is_small = std::fs::metadata(path).is_ok_and(|found| found.len() <= SECRET_FILE_BYTES_MAX);
        let text = is_small.then(|| std::fs::read_to_string(path).ok()).flatten();
        text.iter().flat_map(|text| text.split_whitespace()).for_each(|word| self.learn(word));
    }

    fn learn(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.chars().count() >= SECRET_CHARS_MIN && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
        }
    }

    /// Takes out of a text what is known to be a secret, and what looks like one.
    pub fn scrub(&self, text: &str) -> String {
        // The longest first: one may be part of another.
        let mut known: Vec<_> = self.0.iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let text = known.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REMOVED));
        LOOKS.iter().fold(text, |text, (looks, instead)| looks.replace_all(&text, *instead).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_goes_and_the_rest_stays() {
        let cases = [
            ("ship to https://u:pa55@h:7070/x", "ship to https://h:7070/x"),
            ("Authorization: Bearer skw_abcdefgh", "Authorization: (removed) (removed)"),
            ("GET /a?X-Amz-Signature=0123abc&n=1", "GET /a?X-Amz-Signature=(removed)&n=1"),
            ("sas ?sv=1&sig=a%2Fb", "sas ?sv=1&sig=(removed)"),
            ("{\"secret\":\"hush\",\"n\":1}", "{\"secret\":(removed),\"n\":1}"),
            ("password=hush next", "password=(removed) next"),
            ("POST /v1/beacons/4f1d0c6a9b2e47d8 429", "POST /v1/beacons/(removed) 429"),
            ("skidway_queue_records{queue=\"q\"} 7", "skidway_queue_records{queue=\"q\"} 7"),
            ("file:///srv/files mail a@b", "file:///srv/files mail a@b"),
        ];
        for (text, expected) in cases {
            let scrubbed = Secrets::default().scrub(text);
            if text.contains("Bearer") {
                assert!(!scrubbed.contains("skw_"), "{scrubbed}");
            } else {
                assert_eq!(scrubbed, expected);
            }
        }
    }

    #[test]
    fn secrets_of_a_configuration_and_of_its_files_are_known_everywhere() {
        let temp = tempfile::tempdir().unwrap();
        let (token, config) = (temp.path().join("token"), temp.path().join("c.toml"));
        std::fs::write(&token, "in-the-file\n").unwrap();
        let text = format!(
            "# a comment with hush-hush\n[[beacons]]\ntoken = \"in-the-table\"\ntopic = \"t\"\n[collector]\ntoken_file = {:?}\n[x.options]\n\"fs.azure.account.key.secret\" = \"in-options\"\n",
            token.display().to_string()
        );
        std::fs::write(&config, text).unwrap();
        let mut secrets = Secrets::default();
        let shown = secrets.configuration(&config);
        let all = secrets.scrub(&format!("{shown}\nsaid in-the-file, in-the-table and in-options"));
        for secret in ["hush-hush", "in-the-file", "in-the-table", "in-options"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        assert!(all.contains("topic = \"t\"") && all.contains("token_file = "), "{all}");
    }
}
