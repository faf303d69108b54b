//! Who may do what: nobody gets in without a token, nobody does what its token does not say, and it is written down.

mod attacks;
mod bad_input;
mod certificates;
mod keeping;
mod replay;
mod secrets;

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use skidway_tests::program::{binary, run};
use skidway_tests::{Client, Collector, Site, wait};

/// A collector that asks for tokens, with its administrator.
pub(crate) struct Guarded {
    pub(crate) collector: Collector,
    pub(crate) admin: Client,
    pub(crate) admin_file: PathBuf,
}

/// Starts one, with further lines of configuration.
pub(crate) fn guarded(site: &Site, toml: &str) -> Guarded {
    guarded_by(site, site.collector().with(toml))
}

/// Lets a collector ask for tokens, and starts it.
fn guarded_by(site: &Site, collector: Collector) -> Guarded {
    let (code, token) = run("skidway", &["tokens", "generate"]);
    assert_eq!(code, Some(0), "{token}");
    let admin_file = site.write("admin-token", &token);
    let access = format!("[access]\nmode = \"tokens\"\nadmin_token_file = {admin_file:?}");
    let collector = collector.with(&access).started();
    let admin = collector.client().showing(token.trim());
    Guarded { collector, admin, admin_file }
}

impl Guarded {
    /// Makes a token by HTTP; gives its id and a client that shows it.
    pub(crate) fn token(&self, asked: &Value) -> (String, Client) {
        let mut asked = asked.clone();
        asked.as_object_mut().unwrap().entry("name").or_insert_with(|| json!("test"));
        let made = self.admin.post("/v1/tokens", "application/json", asked.to_string());
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        (text(&made["summary"]["id"]), self.collector.client().showing(&text(&made["token"])))
    }

    /// Makes a token of one scope on some topics.
    fn scoped(&self, scope: &str, topics: &[&str]) -> (String, Client) {
        self.token(&json!({"grants": [{"scope": scope, "topics": topics}]}))
    }

    /// Gives the file of the authority whose certificate it shows, if it speaks TLS.
    fn ca_file(&self) -> PathBuf {
        self.admin_file.with_file_name("ca.pem")
    }

    /// Runs `skidway` as its administrator; gives exit code and standard output.
    fn skidway(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(binary("skidway"));
        command.args(["--url", &self.collector.url(), "--token-file"]).arg(&self.admin_file).args(args);
        if self.ca_file().exists() {
            command.env("SKIDWAY_CA_FILE", self.ca_file());
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// Gives what the audit topic has, once it has a record that is looked for.
    fn audited(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait::until(&format!("the audit topic has {what}"), || {
            let page = self.admin.get("/v1/topics/__skidway.audit/records?max_records=10000");
            let records = page.json()["records"].as_array().cloned().unwrap_or_default();
            let mut values =
                records.iter().map(|it| serde_json::from_str::<Value>(it["value"].as_str().unwrap()).unwrap());
            values.find(|record| is_it(record))
        })
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is text")).to_owned()
}
