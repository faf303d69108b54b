//! The smallest HTTP client that can wait for the next line of a stream.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::soon;

/// Is a request to be sent.
pub(crate) struct Request {
    address: SocketAddr,
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: &str, url: &str) -> Self {
        let head = format!("{method} {url} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        Self { address, head, body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    pub(crate) fn body(mut self, media_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.header("content-type", media_type)
    }

    /// Sends the request and waits for the whole answer.
    pub(crate) async fn send(self) -> Answer {
        let mut answer = self.open().await;
        let mut body = Vec::new();
        while let Some(chunk) = soon(answer.chunk()).await {
            body.extend_from_slice(&chunk);
        }
        Answer { status: answer.status, headers: answer.headers, body }
    }

    /// Sends the request and waits for the head of the answer.
    pub(crate) async fn open(self) -> Stream {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{}content-length: {}\r\n\r\n", self.head, self.body.len());
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&self.body).await.unwrap();
        let mut connection = BufReader::new(connection);
        let head = soon(read_head(&mut connection)).await;
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let headers = head[1..].to_vec();
        let header = |name: &str| value(&headers, name);
        let left = header("content-length").map(|length| length.parse().unwrap());
        Stream { status, left, headers, connection, line: Vec::new() }
    }
}

/// Is a whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// Gives the kind of a problem document.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.json()["status"], self.status);
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

/// Is an answer that goes on.
pub(crate) struct Stream {
    pub(crate) status: u16,
    headers: Vec<String>,
    /// Bytes left of a body of known length.
    left: Option<usize>,
    connection: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Stream {
    /// Gives the next line that is not empty, without its end; `None` when the stream has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                match line.trim_ascii() {
                    b"" => continue,
                    line => return Some(String::from_utf8(line.to_vec()).unwrap()),
                }
            }
            let chunk = soon(self.chunk()).await?;
            self.line.extend_from_slice(&chunk);
        }
    }

    /// Gives the next event: its fields in order, `name: value`.
    pub(crate) async fn event(&mut self) -> Option<Vec<String>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            let data = line.starts_with("data: ");
            fields.push(line);
            if data {
                return Some(fields);
            }
        }
    }

    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = match self.left.take() {
            Some(length) => length,
            None if value(&self.headers, "transfer-encoding") == Some("chunked") => self.chunk_length().await?,
            None => return None,
        };
        let mut chunk = vec![0; length];
        self.connection.read_exact(&mut chunk).await.ok()?;
        Some(chunk).filter(|chunk| !chunk.is_empty())
    }

    async fn chunk_length(&mut self) -> Option<usize> {
        loop {
            let mut line = String::new();
            if self.connection.read_line(&mut line).await.unwrap() == 0 {
                return None;
            }
            if !line.trim().is_empty() {
                return Some(usize::from_str_radix(line.trim(), 16).unwrap());
            }
        }
    }
}

async fn read_head(connection: &mut BufReader<TcpStream>) -> Vec<String> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => return head,
            line => head.push(line.to_owned()),
        }
    }
}

fn value<'h>(headers: &'h [String], name: &str) -> Option<&'h str> {
    let of = |line: &'h String| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name));
    headers.iter().find_map(of).map(|(_, value)| value.trim())
}
