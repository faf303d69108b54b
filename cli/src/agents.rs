//! `skidway agents`: who ships here, and how far behind each is.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use skidway_wire::http::{AgentList, AgentSummary};

use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};
use skidway_daemon::human::{Align, Table, age, size};

/// Prints the fleet.
///
/// # Errors
/// What the collector refuses.
pub async fn run(client: Client, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        let body: Value = client.get("/v1/agents").await?;
        return Ok(writeln!(out, "{body}")?);
    }
    let list: AgentList = client.get("/v1/agents").await?;
    if list.agents.is_empty() {
        note("no agent has ever shipped here");
        return Ok(());
    }
    Ok(write!(out, "{}", table(&list.agents, Timestamp::now()))?)
}

fn table(agents: &[AgentSummary], now: Timestamp) -> Table {
    let columns = [
        ("AGENT", Align::Left),
        ("HOST", Align::Left),
        ("LAST SEEN", Align::Right),
        ("BEHIND", Align::Right),
        ("OLDEST", Align::Right),
        ("VERSION", Align::Left),
    ];
    let mut table = Table::new(columns);
    for agent in agents {
        let last_seen = agent.last_seen.as_deref().and_then(|time| time.parse().ok()).map(|seen| since(seen, now));
        let oldest = agent.oldest_unacknowledged_ms.map(Duration::from_millis);
        table.row([
            agent.id.clone(),
            agent.host.clone(),
            last_seen.map_or_else(|| "not yet".to_owned(), |passed| format!("{} ago", age(passed))),
            agent.bytes_behind.map_or_else(|| "?".to_owned(), size),
            oldest.map_or_else(|| "?".to_owned(), age),
            agent.version.clone(),
        ]);
    }
    table
}

/// Gives the time passed; none if the collector's clock is ahead of ours.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_ages_and_what_is_not_known() {
        let heard_of = AgentSummary {
            id: "web-1".to_owned(),
            host: "web-1.example".to_owned(),
            version: "0.1.0 (commit abc1234)".to_owned(),
            session_epoch: 3,
            last_seen: Some("2026-01-01T00:00:00.000Z".to_owned()),
            bytes_behind: Some(1_258_291),
            oldest_unacknowledged_ms: Some(90_000),
        };
        let silent =
            AgentSummary { last_seen: None, bytes_behind: None, oldest_unacknowledged_ms: None, ..heard_of.clone() };
        let now = "2026-01-01T00:00:03Z".parse().unwrap();
        let expected = "\
AGENT  HOST           LAST SEEN   BEHIND  OLDEST  VERSION
web-1  web-1.example     3s ago  1.2 MiB      1m  0.1.0 (commit abc1234)
web-1  web-1.example    not yet        ?       ?  0.1.0 (commit abc1234)
";
        assert_eq!(table(&[heard_of, silent], now).to_string(), expected);
    }

    #[test]
    fn a_clock_that_is_ahead_shows_no_negative_age() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(since("2026-01-01T00:00:05Z".parse().unwrap(), now), Duration::ZERO);
    }
}
