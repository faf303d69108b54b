//! The one way from here to a collector: requests out, answers or reasons back. Never retries; callers know what is safe.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use skidway_wire::{Problem, problem};

use crate::args::Door;
use crate::credentials;
use crate::error::Error;

/// A collector that is there accepts within this; it runs on the same machine or in the same network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a whole answer may take; streams have their own rule.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Shown of an answer that is no problem document.
const EXCERPT_CHARS: usize = 120;

/// Talks to one collector. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// Prepares a client of a collector that asks for nothing; connects to nothing yet.
    ///
    /// # Errors
    /// An address that is none (reject).
    pub fn new(url: &str) -> Result<Self, Error> {
        let nothing =
            Door { ca_file: None, cert_file: None, key_file: None, token_file: None, json: false, url: url.to_owned() };
        Self::open(&nothing)
    }

    /// Prepares a client with what the command line names: authorities, certificate, token. Connects to nothing yet.
    ///
    /// # Errors
    /// An address that is none, a file that cannot be used (reject).
    pub fn open(door: &Door) -> Result<Self, Error> {
        let url = &door.url;
        let refused = |reason: String| Error::Url { url: url.clone(), reason };
        let base = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(refused("expected http:// or https:// and a host".to_owned()));
        }
        skidway_daemon::tls::use_ring();
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        let http = credentials::equip(http, door, &base)?.build().map_err(Error::Client)?;
        Ok(Self { http, base })
    }

    /// Starts a request whose whole answer must come within a minute. The path starts with a slash.
    pub fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        self.stream(method, path, query).timeout(ANSWER_TIMEOUT)
    }

    /// Starts a request whose answer may go on for ever.
    pub fn stream(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url)
    }

    /// Sends a request and gives its answer if it is a success.
    ///
    /// # Errors
    /// [`Error::Unreachable`] (retry), [`Error::Refused`] (by its status), [`Error::Strange`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let answer = request.send().await.map_err(|source| self.unreachable(source))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(answer).await) }
    }

    /// Sends a request and reads its answer as JSON.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let answer = self.send(request.header(ACCEPT, HeaderValue::from_static("application/json"))).await?;
        let url = answer.url().to_string();
        let body = answer.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body).map_err(|error| Error::Strange {
            url,
            reason: format!("{error}, in: {}", excerpt(&body)),
            passing: false,
        })
    }

    /// Gets a path and reads the answer as JSON.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.fetch(self.request(Method::GET, path, &[])).await
    }

    /// Gets a path and gives the answer as text.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn text(&self, path: &str) -> Result<String, Error> {
        let answer = self.send(self.request(Method::GET, path, &[])).await?;
        answer.text().await.map_err(|source| self.unreachable(source))
    }

    /// Gives the collector's address without credentials or path.
    pub fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Tells whether the address is https.
    pub fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Tells whether the address is of this machine.
    pub fn is_local(&self) -> bool {
        is_local(&self.base)
    }

    /// Says that nobody answers, by the collector's address without credentials or path.
    pub fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { url: self.base.origin().ascii_serialization(), source: source.without_url() }
    }

    async fn refusal(&self, answer: Response) -> Error {
        let (url, status) = (answer.url().to_string(), answer.status());
        let is_problem = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|it| it.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(source) => return self.unreachable(source),
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_problem => Error::Refused(Box::new(problem)),
            _ => Error::Strange {
                url,
                reason: format!("it answered {status}: {}", excerpt(&body)),
                passing: status.is_server_error(),
            },
        }
    }
}

/// Tells whether an address is of this machine's loopback.
pub fn is_local(url: &Url) -> bool {
    match url.host_str().unwrap_or_default() {
        "localhost" => true,
        host => {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            address.is_ok_and(|address| address.to_canonical().is_loopback())
        }
    }
}

/// Gives the beginning of an answer on one line, safe for a terminal.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(EXCERPT_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        let is_local = |host: &str| is_local(&Url::parse(&format!("http://{host}:7070")).unwrap());
        for host in ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "[2001:db8::1]", "collector"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
