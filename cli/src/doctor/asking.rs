//! The facts that running programs tell when they are asked. Judges nothing but whether they answer.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::DATE;
use skidway_agent::status::Status;
use skidway_wire::http::{TopicDescription, TopicList};

use super::collector::Facts;
use super::exposition::Exposition;
use super::finding::Finding;
use crate::client::Client;
use crate::error::Error;

/// Topics that are asked for one by one.
const TOPICS_MAX: usize = 500;

/// Asks a collector for all it tells. What it refuses to this client is a finding beside the facts.
///
/// # Errors
/// As a finding: it does not answer.
pub async fn collector(client: &Client) -> Result<(Facts, Vec<Finding>), Finding> {
    let mut facts = Facts {
        unencrypted: !client.is_encrypted() && !client.is_local(),
        own_version: skidway_daemon::VERSION.to_owned(),
        retained_bytes_max: Some(0),
        ..Facts::default()
    };
    let answer = client.send(client.request(Method::GET, "/v1", &[])).await.map_err(|error| silent(&error))?;
    facts.clock_ahead_seconds = answer.headers().get(DATE).and_then(|date| ahead(date.to_str().ok()?));
    let body = answer.bytes().await.unwrap_or_default();
    facts.about = serde_json::from_slice(&body).ok();
    let mut refused = Vec::new();
    let mut note = |error: Error, what: &str| refused.push(untold(&error, what));
    match client.text("/metrics").await {
        Ok(text) => facts.metrics = Exposition::parse(&text),
        Err(error) => note(error, "metrics"),
    }
    let now = Timestamp::now();
    let silent = |seen: &str| Some(Duration::try_from(now.duration_since(seen.parse().ok()?)).unwrap_or_default());
    match client.get("/v1/agents").await {
        Ok(list) => facts.take_agents(list, silent),
        Err(error) => note(error, "agents"),
    }
    match client.get("/v1/sinks").await {
        Ok(list) => facts.sinks = list,
        Err(error) => note(error, "sinks"),
    }
    match client.get("/v1/groups").await {
        Ok(list) => facts.take_groups(list),
        Err(error) => note(error, "groups"),
    }
    match client.get("/v1/queues").await {
        Ok(list) => facts.take_queues(list),
        Err(error) => note(error, "queues"),
    }
    if let Err(error) = topics(client, &mut facts).await {
        note(error, "topics");
    }
    Ok((facts, refused))
}

async fn topics(client: &Client, facts: &mut Facts) -> Result<(), Error> {
    let list: TopicList = client.get("/v1/topics").await?;
    for topic in list.topics.iter().take(TOPICS_MAX) {
        match client.get::<TopicDescription>(&format!("/v1/topics/{}", topic.name)).await {
            Ok(topic) => facts.take_topic(&topic),
            // It was deleted meanwhile.
            Err(Error::Refused(problem)) if problem.status == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks an agent's admin port how things stand.
///
/// # Errors
/// As a finding: it does not answer.
pub async fn agent(url: &str) -> Result<Status, Finding> {
    let unanswered = |reason: String| {
        Finding::problem(
            "agent",
            format!("no agent answers at {url}: {reason}"),
            "its lines do not arrive, unless it listens elsewhere",
            "systemctl status skidway-agent; agent.admin_listen says where it listens",
        )
    };
    let client = Client::new(url).map_err(|error| unanswered(error.to_string()))?;
    client.get("/status").await.map_err(|error| unanswered(first_line(&error)))
}

/// Gives by how many seconds the clock that wrote an HTTP date is ahead of ours.
pub(super) fn ahead(date: &str) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(theirs.as_second() - Timestamp::now().as_second())
}

fn silent(error: &Error) -> Finding {
    let text = first_line(error);
    let todo = match error {
        Error::Refused(problem) if matches!(problem.status, 401 | 403) => {
            "name a token that may: --token-file or SKIDWAY_TOKEN_FILE; skidway tokens list shows them to an admin"
        }
        Error::Unreachable { .. } if text.to_lowercase().contains("certificate") => {
            "name the authority that signed it: --ca-file or SKIDWAY_CA_FILE; is the certificate over, or of another name?"
        }
        Error::Unreachable { .. } => {
            "systemctl status skidway-collector; is --url right, and does a firewall or http.listen keep you out?"
        }
        _ => "is --url a collector's, or a proxy's that does not reach one?",
    };
    Finding::problem("collector", text, "agents and readers meet the same", todo)
}

fn untold(error: &Error, what: &str) -> Finding {
    let about = format!("{what} not told");
    let todo = "ask with an admin's token: --token-file";
    Finding::warning(about, first_line(error), "what is wrong with them is not found", todo)
}

fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_by_the_date_of_an_answer() {
        assert!(ahead("Sun, 06 Nov 1994 08:49:37 GMT").is_some_and(|ahead| ahead < -86_400));
        assert_eq!(ahead("yesterday"), None);
    }

    #[tokio::test]
    async fn who_does_not_answer_is_a_finding_that_says_what_to_do() {
        let found = collector(&Client::new("http://127.0.0.1:1").unwrap()).await.unwrap_err();
        assert!(found.what.contains("127.0.0.1:1") && found.todo.contains("systemctl"), "{found}");
        let found = agent("http://127.0.0.1:1").await.unwrap_err();
        assert!(found.todo.contains("admin_listen"), "{found}");
    }
}
