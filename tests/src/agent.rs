//! An agent under test: configured, started, killed and started again on the same state.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::http::Client;
use crate::program::{Program, free_port, run};
use crate::site::Site;
use crate::wait;

/// Describes an agent; runs it once started.
#[derive(Debug)]
pub struct Agent {
    id: String,
    admin_port: u16,
    state_dir: PathBuf,
    url: String,
    agent_keys: String,
    extra: String,
    config: PathBuf,
    log: PathBuf,
    launcher: Vec<String>,
    program: Option<Program>,
}

impl Agent {
    pub(crate) fn new(site: &Site, id: &str, url: &str) -> Self {
        Self {
            id: id.into(),
            admin_port: free_port(),
            state_dir: site.path(&format!("{id}-state")),
            url: url.into(),
            agent_keys: String::new(),
            extra: String::new(),
            config: site.path(&format!("{id}.toml")),
            log: site.path(&format!("{id}.log")),
            launcher: Vec::new(),
            program: None,
        }
    }

    /// Adds lines to its configuration, after `[agent]` and `[collector]` with their necessary keys.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self.extra.push('\n');
        self
    }

    /// Adds lines to its `[agent]` table.
    #[must_use]
    pub fn with_agent(mut self, toml: &str) -> Self {
        self.agent_keys.push_str(toml);
        self.agent_keys.push('\n');
        self
    }

    /// Adds an input that follows the files of a pattern into a topic.
    #[must_use]
    pub fn follows(self, pattern: &str, topic: &str) -> Self {
        self.with(&format!("[[inputs]]\ninclude = [{pattern:?}]\ntopic = {topic:?}"))
    }

    /// Lets it run under another program that takes its place, such as `prlimit --nofile=100`.
    #[must_use]
    pub fn under(mut self, launcher: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.launcher = launcher.into_iter().map(|part| part.as_ref().to_owned()).collect();
        self
    }

    /// Lets it keep its state in another folder.
    #[must_use]
    pub fn keeping(mut self, state_dir: &Path) -> Self {
        self.state_dir = state_dir.to_owned();
        self
    }

    /// Gives it other lines of configuration than those of [`Agent::with`] and [`Agent::follows`] while it runs, and asks it to read them.
    ///
    /// # Panics
    /// Before it is started.
    pub fn reload(&mut self, toml: &str) {
        self.extra = format!("{toml}\n");
        self.write_config();
        self.program().hang_up();
    }

    /// Starts it and waits until it has a session.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    #[must_use]
    pub fn started(mut self) -> Self {
        self.start();
        self.wait_ready();
        self
    }

    /// Starts it (again), not waiting for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self) {
        let args = ["run".into(), "--config".into(), self.write_config()];
        self.program = Some(Program::start_under(&self.launcher, "skidway-agent", &args, &self.log));
    }

    /// Ships all there is and ends (`run --once`); gives exit code and what it said.
    pub fn once(&self) -> (Option<i32>, String) {
        run("skidway-agent", &["run", "--config", &self.write_config(), "--once"])
    }

    /// Runs another command of the program on its configuration; gives exit code and what it said.
    pub fn run_command(&self, command: &str, args: &[&str]) -> (Option<i32>, String) {
        run("skidway-agent", &[&[command, "--config", &self.write_config()], args].concat())
    }

    /// Waits until it says it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    pub fn wait_ready(&mut self) {
        let client = self.admin();
        wait::until("the agent is ready", || {
            let program = self.program();
            assert!(program.runs(), "the agent ended; it said:\n{}", program.last_words());
            client.try_get("/readyz", &[]).filter(|answer| answer.status == 200)
        });
    }

    /// Gives what `/status` says; `None` while it cannot be reached.
    pub fn status(&self) -> Option<Value> {
        self.admin().try_get("/status", &[]).filter(|answer| answer.status == 200).map(|answer| answer.json())
    }

    /// Tells whether it has bytes or spans that are not acknowledged; false while it cannot be asked.
    pub fn has_unacknowledged(&self) -> bool {
        let behind = |status: Value| status["totals"]["bytes_behind"].as_u64().unwrap_or(0);
        self.status().is_some_and(|status| behind(status) > 0)
    }

    /// Tells how many files it counted as missed: gone before it could look at them. 0 while it cannot be asked.
    pub fn missed_files(&self) -> u64 {
        self.status().and_then(|status| status["totals"]["missed_files"].as_u64()).unwrap_or(0)
    }

    /// Waits until it follows no file whose path ends so.
    ///
    /// # Panics
    /// When it goes on following it.
    pub fn wait_until_let_go(&self, ending: &str) {
        let is_it = |file: &Value| file["path"].as_str().is_some_and(|path| path.ends_with(ending));
        let follows = |status: &Value| status["files"].as_array().is_some_and(|files| files.iter().any(is_it));
        wait::until(&format!("{ending} is let go of"), || self.status().filter(|status| !follows(status)));
    }

    /// Gives the running process.
    ///
    /// # Panics
    /// Before it is started.
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("the agent was started")
    }

    /// Gives the folder of its checkpoint.
    pub fn state_dir(&self) -> &PathBuf {
        &self.state_dir
    }

    /// Gives a client of its admin door.
    pub fn admin(&self) -> Client {
        Client::new(self.admin_url())
    }

    /// Gives the address of its admin door.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    fn write_config(&self) -> String {
        let config = format!(
            "[agent]\nid = {:?}\nstate_dir = {:?}\nadmin_listen = \"127.0.0.1:{}\"\n{}[collector]\nurls = [{:?}]\n{}",
            self.id, self.state_dir, self.admin_port, self.agent_keys, self.url, self.extra
        );
        std::fs::write(&self.config, config).expect("the configuration is written");
        self.config.display().to_string()
    }
}
