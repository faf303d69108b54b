//! The collector from outside: a server on a free port, spoken to over plain TCP. What each URL promises is DESIGN §7.
//!
//! A test of producing goes to `produce`, of reading to `read`, of the agents' protocol to `agents`, of the server
//! itself to `server`.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod client;
mod produce;
mod read;
mod agents;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use skidway_collector::config::Config;
use skidway_collector::error::ServeError;
use skidway_collector::server::Server;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use client::{Answer, Request};

/// Is a collector that runs as long as the test.
struct Collector {
    address: SocketAddr,
    folder: TempDir,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServeError>>,
}

impl Collector {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        config.engine.reserve_bytes = 1 << 20;
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let (address, stop) = (server.local_addr(), CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "the test is the wiring")]
        let running = tokio::spawn(server.run(stop.clone()));
        Self { address, folder, stop, running }
    }

    /// Stops in order and gives the folder to whoever starts again.
    async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.folder
    }

    fn get(&self, url: &str) -> Request {
        Request::new(self.address, "GET", url)
    }

    fn post(&self, url: &str) -> Request {
        Request::new(self.address, "POST", url)
    }

    fn put(&self, url: &str, json: &str) -> Request {
        Request::new(self.address, "PUT", url).body("application/json", json)
    }

    /// Produces lines to a partition of a topic.
    async fn produce(&self, topic: &str, partition: u32, lines: &str) -> Answer {
        let url = format!("/v1/topics/{topic}/records?partition={partition}");
        self.post(&url).body("text/plain", lines).send().await
    }

    /// Gives the values of a page, and the token after it.
    async fn page(&self, topic: &str, query: &str) -> (Vec<String>, String) {
        let page = self.get(&format!("/v1/topics/{topic}/records?{query}")).send().await.expect(200).json();
        let values = page["records"].as_array().unwrap().iter();
        let values = values.map(|record| record["value"].as_str().unwrap().to_owned()).collect();
        (values, page["next"].as_str().unwrap().to_owned())
    }
}

/// Waits, but not for ever: a test that hangs says so.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens soon")
}
