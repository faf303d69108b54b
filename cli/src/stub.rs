//! A collector for tests that says what it was told to say, one answer a connection, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::client::Client;

/// Holds a running stub.
pub(crate) struct Stub {
    url: String,
    asked: JoinHandle<Vec<String>>,
}

/// Makes a success.
pub(crate) fn success(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Makes a stream that is cut off: it promises more than it has.
pub(crate) fn cut_stream(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000000\r\n\r\n{body}")
}

/// Makes an answer with a problem document.
pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> String {
    let body = serde_json::to_string(&skidway_wire::Problem::new(status, kind, detail)).unwrap();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/problem+json");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Makes no answer at all: the connection is closed once the request has been read.
pub(crate) fn silence() -> String {
    String::new()
}

impl Stub {
    /// Starts a stub that gives these answers in turn.
    pub(crate) fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || answers.iter().map(|answer| exchange(listener.accept().unwrap().0, answer)).collect();
        Self { url, asked: std::thread::spawn(serve) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    /// Gives every request, once all answers were given: head and body as text.
    pub(crate) fn asked(self) -> Vec<String> {
        self.asked.join().unwrap()
    }
}

fn exchange(connection: TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(connection);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        reader.read_line(&mut request).unwrap();
    }
    let length =
        request.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    request + &String::from_utf8(body).unwrap()
}
