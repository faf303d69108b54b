//! A plain HTTP client: requests, answers, and streams read line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::tls::Issued;

/// Bounds a streamed line that waits to be read.
const LINES_WAITING_MAX: usize = 4096;

/// Bounds an answer's body.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// Talks to one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
    token: Option<String>,
}

/// Holds one whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Value of `Content-Type`, empty if absent.
    pub content_type: String,
    /// Value of `Content-Encoding`, empty if absent.
    pub content_encoding: String,
    /// Value of `Retry-After`, if there.
    pub retry_after: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Gives the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Gives the body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    /// Makes a client of a server such as `http://127.0.0.1:7070`.
    pub fn new(base: impl Into<String>) -> Self {
        Self::with(base, TlsConfig::builder().build())
    }

    /// Makes a client of a server such as `https://127.0.0.1:7070` that trusts this authority alone, and shows a certificate if it has one.
    ///
    /// # Panics
    /// When something is not PEM.
    pub fn trusting(base: impl Into<String>, authority: &str, own: Option<&Issued>) -> Self {
        let certificate = |pem: &str| Certificate::from_pem(pem.as_bytes()).expect("a certificate");
        let own = own.map(|own| {
            let key = PrivateKey::from_pem(own.key.as_bytes()).expect("a key");
            ClientCert::new_with_certs(&[certificate(&own.certificate)], key)
        });
        let tls =
            TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate(authority)])).client_cert(own);
        let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        Self::with(base, tls.unversioned_rustls_crypto_provider(ring).build())
    }

    fn with(base: impl Into<String>, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)));
        Self { base: base.into(), agent: config.build().into(), token: None }
    }

    /// Lets it show a token with every request.
    #[must_use]
    pub fn showing(&self, token: &str) -> Self {
        Self { token: Some(format!("Bearer {token}")), ..self.clone() }
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", token),
            None => request,
        }
    }

    /// Asks for a path; `None` if the server cannot be reached or cuts the answer.
    pub fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let mut request = self.authorized(self.agent.get(format!("{}{path}", self.base)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().ok().and_then(read)
    }

    /// Asks for a path.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    /// Asks for a path with headers.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_get(path, headers).unwrap_or_else(|| panic!("GET {}{path} is not answered", self.base))
    }

    /// Sends a body; `None` if the server cannot be reached or cuts the answer.
    pub fn try_post(&self, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Option<Answer> {
        let mut request = self.authorized(self.agent.post(format!("{}{path}", self.base)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body.as_ref()).ok().and_then(read)
    }

    /// Sends a body of the given type.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn post(&self, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(path, &[("Content-Type", content_type)], body)
    }

    /// Sends a body with headers.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        self.try_post(path, headers, body).unwrap_or_else(|| panic!("POST {}{path} is not answered", self.base))
    }

    /// Puts a JSON document; `None` if the server cannot be reached or cuts the answer.
    pub fn try_put(&self, path: &str, body: &Value) -> Option<Answer> {
        let request = self.authorized(self.agent.put(format!("{}{path}", self.base)));
        let request = request.header("Content-Type", "application/json");
        request.send(body.to_string()).ok().and_then(read)
    }

    /// Puts a JSON document.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.try_put(path, body).unwrap_or_else(|| panic!("PUT {path} is not answered"))
    }

    /// Deletes a path; `None` if the server cannot be reached or cuts the answer.
    pub fn try_delete(&self, path: &str) -> Option<Answer> {
        self.authorized(self.agent.delete(format!("{}{path}", self.base))).call().ok().and_then(read)
    }

    /// Deletes a path.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn delete(&self, path: &str) -> Answer {
        self.try_delete(path).unwrap_or_else(|| panic!("DELETE {path} is not answered"))
    }

    /// Asks whatever is to be asked.
    ///
    /// # Panics
    /// When it is no request, or the server cannot be reached.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let answer = self.agent.run(request).ok().and_then(read);
        answer.unwrap_or_else(|| panic!("{method} {}{path} is not answered", self.base))
    }

    /// Opens a stream; `None` if the server cannot be reached or refuses.
    pub fn try_stream(&self, path: &str, accept: &str, headers: &[(&str, &str)]) -> Option<Stream> {
        self.body_with(path, accept, headers).map(Stream::read)
    }

    /// Opens a stream to be read as bytes; `None` if the server cannot be reached or refuses.
    pub fn body(&self, path: &str, accept: &str) -> Option<impl Read + Send + 'static> {
        self.body_with(path, accept, &[])
    }

    fn body_with(&self, path: &str, accept: &str, headers: &[(&str, &str)]) -> Option<impl Read + Send + use<>> {
        let mut request = self.authorized(self.agent.get(format!("{}{path}", self.base))).header("Accept", accept);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.call().ok().filter(|response| response.status().as_u16() == 200)?;
        Some(response.into_body().into_reader())
    }

    /// Opens a stream that is compressed on its way: `gzip` or `zstd`.
    ///
    /// # Panics
    /// When the server cannot be reached, refuses, or does not speak zstd.
    pub fn stream_coded(&self, path: &str, accept: &str, coding: &str) -> Stream {
        let body = self.body_with(path, accept, &[("Accept-Encoding", coding)]).expect("a stream");
        match coding {
            "gzip" => Stream::read(flate2::read::GzDecoder::new(body)),
            _ => Stream::read(zstd::stream::read::Decoder::new(body).expect("a zstd stream")),
        }
    }

    /// Opens a stream.
    ///
    /// # Panics
    /// When the server cannot be reached or refuses.
    pub fn stream(&self, path: &str, accept: &str, headers: &[(&str, &str)]) -> Stream {
        self.try_stream(path, accept, headers).unwrap_or_else(|| panic!("{path} as {accept} does not stream"))
    }
}

fn read(response: ureq::http::Response<ureq::Body>) -> Option<Answer> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, retry_after) = (header("content-type").unwrap_or_default(), header("retry-after"));
    let content_encoding = header("content-encoding").unwrap_or_default();
    let status = response.status().as_u16();
    let body = response.into_body().into_with_config().limit(BODY_BYTES_MAX).read_to_vec().ok()?;
    Some(Answer { status, content_type, content_encoding, retry_after, body })
}

/// Holds an answer that goes on and on, read line by line by a thread of its own.
#[derive(Debug)]
pub struct Stream {
    lines: Receiver<String>,
}

impl Stream {
    fn read(body: impl Read + Send + 'static) -> Self {
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        std::thread::spawn(move || {
            let lines = BufReader::with_capacity(256 << 10, body).lines().map_while(Result::ok);
            for line in lines {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// Gives the next line; `None` at the end of the stream or after `patience`.
    pub fn next_within(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Gives the next event that is a record, heartbeats left out; `None` as [`Stream::next_event`].
    pub fn next_record(&self, patience: Duration) -> Option<Event> {
        loop {
            let event = self.next_event(patience)?;
            if event.name.is_none() {
                return Some(event);
            }
        }
    }

    /// Gives the next server-sent event; `None` at the end of the stream or when a line of it takes longer than `patience`.
    pub fn next_event(&self, patience: Duration) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.next_within(patience)?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.into()),
                "event" => event.name = Some(value.into()),
                "data" => event.data.push_str(value),
                "" if line.is_empty() && !event.data.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}

/// Holds one server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Token to resume after.
    pub id: Option<String>,
    /// `None`: a record.
    pub name: Option<String>,
    /// JSON.
    pub data: String,
}

impl Event {
    /// Gives the data as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}
