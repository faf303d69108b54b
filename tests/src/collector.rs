//! A collector under test: configured, started, killed and started again on the same port and data.

use std::path::{Path, PathBuf};

use crate::http::Client;
use crate::program::{Program, free_port};
use crate::site::Site;
use crate::tls::{Authority, Issued};
use crate::wait;

/// Describes a collector; runs it once started.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    config: PathBuf,
    data_dir: String,
    extra: String,
    variables: Vec<(String, String)>,
    log: PathBuf,
    tls: Option<Trust>,
    program: Option<Program>,
}

/// Holds what clients of a collector that speaks TLS need: the authority they trust, and what they show.
#[derive(Debug)]
struct Trust {
    authority: String,
    own: Option<Issued>,
}

impl Collector {
    pub(crate) fn new(site: &Site) -> Self {
        let (config, log) = (site.path("collector.toml"), site.path("collector.log"));
        Self {
            port: free_port(),
            config,
            data_dir: site.text("data"),
            extra: String::new(),
            variables: Vec::new(),
            log,
            tls: None,
            program: None,
        }
    }

    /// Lets it keep its data in another folder.
    #[must_use]
    pub fn keeping(mut self, data_dir: &Path) -> Self {
        self.data_dir = data_dir.display().to_string();
        self
    }

    /// Adds lines to its configuration, after `[collector] data_dir` and `[http] listen`.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self.extra.push('\n');
        self
    }

    /// Lets it speak TLS with a certificate of the authority (`ca.pem`, `server.pem` and `server-key.pem` of the site), and these further lines of
    /// `[http.tls]`. Its clients show `own`.
    #[must_use]
    pub fn with_tls(self, site: &Site, authority: &Authority, lines: &str, own: Option<Issued>) -> Self {
        let [_, cert, key] = authority.equip_server(site);
        self.trusting(&authority.pem, own)
            .with(&format!("[http.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n{lines}"))
    }

    /// Lets its clients speak TLS, trust this authority (in PEM), and show `own`.
    #[must_use]
    pub fn trusting(mut self, authority: &str, own: Option<Issued>) -> Self {
        self.tls = Some(Trust { authority: authority.to_owned(), own });
        self
    }

    /// Sets an environment variable for it.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Takes lines out of its configuration, for the next start.
    ///
    /// # Panics
    /// When they are not in it.
    pub fn without(&mut self, toml: &str) -> &mut Self {
        assert!(self.extra.contains(toml), "{toml} is in the configuration");
        self.extra = self.extra.replace(toml, "");
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    #[must_use]
    pub fn started(mut self) -> Self {
        self.start();
        self
    }

    /// Starts it (again) and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    pub fn start(&mut self) {
        self.launch();
        self.ready();
    }

    /// Starts it (again), not waiting for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&mut self) {
        self.configure();
        let args = ["run".into(), "--config".into(), self.config.display().to_string()];
        let variables: Vec<_> = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.program = Some(Program::start_with("skidway-collector", &args, &variables, &self.log));
    }

    /// Starts it again as a service manager does: tells whether it became ready, rather than ended.
    pub fn try_start(&mut self) -> bool {
        self.launch();
        let client = self.client();
        wait::until("the collector is ready or ends", || {
            if !self.program().runs() {
                return Some(false);
            }
            client.try_get("/readyz", &[]).filter(|answer| answer.status == 200).map(|_| true)
        })
    }

    /// Gives it other lines of configuration (see [`Collector::with`]) while it runs, and asks it to read them.
    ///
    /// # Panics
    /// Before it is started.
    pub fn reload(&mut self, toml: &str) {
        self.extra = format!("{toml}\n");
        self.configure();
        self.program().hang_up();
    }

    fn configure(&self) {
        let config = format!(
            "[collector]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:{}\"\n{}",
            self.data_dir, self.port, self.extra
        );
        std::fs::write(&self.config, config).expect("the configuration is written");
    }

    fn ready(&mut self) {
        let client = self.client();
        wait::until("the collector is ready", || {
            let program = self.program();
            assert!(program.runs(), "the collector ended; it said:\n{}", program.last_words());
            client.try_get("/readyz", &[]).filter(|answer| answer.status == 200)
        });
    }

    /// Gives the running process.
    ///
    /// # Panics
    /// Before it is started.
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("the collector was started")
    }

    /// Gives its address, as agents need it.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls.is_some() { "https" } else { "http" }, self.port)
    }

    /// Gives its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Gives a client of it.
    pub fn client(&self) -> Client {
        match &self.tls {
            None => Client::new(self.url()),
            Some(trust) => Client::trusting(self.url(), &trust.authority, trust.own.as_ref()),
        }
    }
}
