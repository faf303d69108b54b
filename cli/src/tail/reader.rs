//! A subscription that survives: it always knows the token after the last record it gave, and goes on from there.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use skidway_record::TopicName;
use skidway_wire::Gone;
use skidway_wire::http::records_path;

use super::line::{self, Line, Splitter};
use crate::args;
use crate::client::Client;
use crate::error::Error;
use crate::output::note;

/// A stream says something at least every 15 s; after three times as long its connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Reads topics, or one partition of one.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    path: String,
    /// What is read, if the path does not say it: names and patterns.
    topics: Option<String>,
    filter: Option<String>,
    partition: Option<String>,
    follow: bool,
    skip_damaged: bool,
    /// Where the next record is: as typed at first, a token from the first answer on.
    next: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    records: Vec<Map<String, Value>>,
    #[serde(default)]
    damaged: Vec<Map<String, Value>>,
    #[serde(default)]
    gone: Vec<Gone>,
    next: String,
}

impl Reader {
    /// Prepares to read from a place; asks for nothing yet.
    ///
    /// # Errors
    /// A partition of more than one topic (reject).
    pub(super) fn new(client: Client, args: args::Tail, from: String) -> Result<Self, Error> {
        let args::Tail { topics, filter, partition, follow, skip_damaged, .. } = args;
        let (path, topics) = match topics.as_slice() {
            // One topic by its name, as ever.
            [one] if TopicName::new(one).is_ok() => (records_path(one), None),
            many if partition.is_none() => ("/v1/records".to_owned(), Some(many.join(","))),
            _ => return Err(Error::Usage("--partition is of one topic only".to_owned())),
        };
        let partition = partition.map(|it| it.to_string());
        Ok(Self { client, path, topics, filter, partition, follow, skip_damaged, next: from })
    }

    /// Reads a page, which ties down where "latest" or "10 back" is: from then on a lost connection loses nothing.
    pub(super) async fn page(&mut self) -> Result<Vec<Map<String, Value>>, Error> {
        let request = self.client.request(Method::GET, &self.path, &self.query());
        let page: Page = self.client.fetch(request).await?;
        self.next = page.next;
        page.damaged.iter().for_each(|damage| note(line::passed_over(damage)));
        page.gone.iter().for_each(|gone| note(line::gone(gone)));
        Ok(page.records)
    }

    /// Connects to go on after the last record given.
    pub(super) async fn connect(&self) -> Result<Connection, Error> {
        let mut query = self.query();
        query.extend([("tokens", "true"), ("follow", if self.follow { "true" } else { "false" })]);
        let request = self.client.stream(Method::GET, &self.path, &query);
        let request = request.header(ACCEPT, HeaderValue::from_static("application/x-ndjson"));
        let answer = tokio::time::timeout(SILENCE_MAX, self.client.send(request)).await.map_err(|_| silence())??;
        Ok(Connection { answer, splitter: Splitter::default() })
    }

    /// Waits for what comes next on a connection: lines, or none at the end of the stream.
    pub(super) async fn lines(&self, connection: &mut Connection) -> Result<Option<Vec<Line>>, Error> {
        let chunk = tokio::time::timeout(SILENCE_MAX, connection.answer.chunk()).await.map_err(|_| silence())?;
        let chunk = chunk.map_err(|error| Error::Lost { reason: crate::error::cause(&error) })?;
        chunk.map(|chunk| connection.split(&chunk)).transpose()
    }

    /// Tells whether it reads on past the last record there is.
    pub(super) fn follows(&self) -> bool {
        self.follow
    }

    /// Remembers where to go on. Call it once what lies before is safe with the user.
    pub(super) fn advance(&mut self, next: Option<String>) {
        if let Some(next) = next {
            self.next = next;
        }
    }

    fn query(&self) -> Vec<(&str, &str)> {
        let partition = self.partition.as_deref().map(|partition| ("partition", partition));
        let skip = self.skip_damaged.then_some(("skip_damaged", "true"));
        let topics = self.topics.as_deref().map(|topics| ("topics", topics));
        let filter = self.filter.as_deref().map(|filter| ("filter", filter));
        std::iter::once(("from", self.next.as_str())).chain(topics).chain(filter).chain(partition).chain(skip).collect()
    }
}

/// Holds one open stream. What it has of an unfinished line goes with it; the token brings the line again.
#[derive(Debug)]
pub(super) struct Connection {
    answer: Response,
    splitter: Splitter,
}

impl Connection {
    fn split(&mut self, chunk: &Bytes) -> Result<Vec<Line>, Error> {
        let strange = |reason| Error::Strange { url: self.answer.url().to_string(), reason, passing: false };
        let lines = self.splitter.push(chunk).map_err(strange)?;
        lines.iter().map(|line| line::parse(line).map_err(strange)).collect()
    }
}

fn silence() -> Error {
    Error::Lost { reason: format!("nothing was heard for {} s", SILENCE_MAX.as_secs()) }
}
