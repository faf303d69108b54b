//! A real browser: Chromium without a window, driven over WebDriver, and pages for it from an origin of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Program, free_port};
use crate::{Client, Site, wait};

/// What keeps Chromium to itself: no window, no calls home.
const SWITCHES: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Holds a browser with one window.
pub struct Browser {
    driver: Client,
    session: String,
    _driver: Program,
}

impl Browser {
    /// Starts a browser (`scripts/test` installs it).
    ///
    /// # Panics
    /// When there is no Chromium, or it does not start.
    pub fn start(site: &Site) -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        let program = Program::spawn("chromedriver", command, &site.path("chromedriver.log"));
        let driver = Client::new(format!("http://127.0.0.1:{port}"));
        wait::until("chromedriver listens", || driver.try_get("/status", &[]));
        let mut switches: Vec<String> = SWITCHES.iter().map(|&switch| switch.to_owned()).collect();
        switches.push(format!("--user-data-dir={}", site.path("chromium").display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": switches}}}});
        let answer = driver.post("/session", "application/json", wanted.to_string()).json();
        let session = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("a session: {answer}")).to_owned();
        Self { driver, session, _driver: program }
    }

    /// Opens a page, and returns when it is loaded.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn open(&self, url: &str) {
        self.ask("url", &json!({"url": url}));
    }

    /// Runs the body of a function in the page and gives what it returns.
    ///
    /// # Panics
    /// When it throws.
    pub fn run(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({"script": script, "args": []}))
    }

    fn ask(&self, what: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{what}", self.session);
        let answer = self.driver.post(&path, "application/json", body.to_string());
        assert_eq!(answer.status, 200, "{what} {body}: {}", answer.text());
        answer.json()["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; its driver, which is killed, would leave it behind.
        let _ended = self.driver.try_delete(&format!("/session/{}", self.session));
    }
}

/// Serves one page at `/`, whatever is asked for, from an origin of its own. Gives that.
///
/// # Panics
/// When it cannot be read.
pub fn serve_page(file: &Path) -> String {
    let page = std::fs::read(file).expect("the page can be read");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &page)));
    format!("http://{address}")
}

fn answer(mut stream: TcpStream, page: &[u8]) {
    let mut lines = BufReader::new(&stream).lines();
    // The head ends with an empty line, or with the connection.
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    let _gone = write!(stream, "{head}Content-Length: {}\r\n\r\n", page.len()).and_then(|()| stream.write_all(page));
}
