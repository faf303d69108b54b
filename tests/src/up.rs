//! `skidway up` under test: agent and collector in one process.

use crate::http::Client;
use crate::program::{Program, free_port};
use crate::site::Site;
use crate::wait;

/// Holds a running `skidway up`.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub program: Program,
    port: u16,
}

impl Up {
    /// Starts it with data below `site` and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    pub fn start(site: &Site, args: &[String]) -> Self {
        let port = free_port();
        let mut all =
            vec!["up".into(), "--data-dir".into(), site.text("up"), "--listen".into(), format!("127.0.0.1:{port}")];
        all.extend_from_slice(args);
        let mut up = Self { program: Program::start("skidway", &all, &site.path("up.log")), port };
        let client = up.client();
        wait::until("skidway up is ready", || {
            assert!(up.program.runs(), "skidway up ended; it said:\n{}", up.program.last_words());
            client.try_get("/readyz", &[]).filter(|answer| answer.status == 200)
        });
        up
    }

    /// Gives a client of its collector.
    pub fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }
}
