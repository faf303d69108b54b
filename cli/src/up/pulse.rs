//! One short line every few seconds: how many lines arrive. Asked of the collector, so it shows what is really stored.

use std::io::{self, Write};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use skidway_wire::TopicList;
use skidway_wire::http::TopicDescription;
use tokio::time::{Instant, MissedTickBehavior};

use crate::client::Client;
use crate::error::Error;
use skidway_daemon::human::{count, counted};

const PERIOD: Duration = Duration::from_secs(5);
/// Topics described at a time.
const DESCRIBED_AT_ONCE: usize = 4;

/// Prints the pulse until it is dropped. Whoever does not see it misses nothing, so it never fails.
pub(super) async fn show(client: Client) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Instant, Total)> = None;
    loop {
        ticks.tick().await;
        let Ok(total) = total(&client).await else { continue };
        let now = Instant::now();
        if let Some(line) = before.and_then(|(then, before)| line(before, total, now - then)) {
            // A closed terminal is no reason to stop following files.
            let _unseen = writeln!(io::stdout(), "{line}");
        }
        before = Some((now, total));
    }
}

/// Sums up all topics of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Total {
    topics: u64,
    records: u64,
}

async fn total(client: &Client) -> Result<Total, Error> {
    let list: TopicList = client.get("/v1/topics").await?;
    let names = list.topics.into_iter().map(|topic| topic.name).filter(|name| !name.starts_with("__"));
    let paths = names.map(|name| format!("/v1/topics/{name}"));
    let described = futures::stream::iter(paths).map(|path| async move { client.get::<TopicDescription>(&path).await });
    let topics: Vec<TopicDescription> = described.buffer_unordered(DESCRIBED_AT_ONCE).try_collect().await?;
    let records = topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.high_watermark).sum();
    Ok(Total { topics: topics.len() as u64, records })
}

/// Says how many lines arrived in between; nothing if none did.
fn line(before: Total, now: Total, passed: Duration) -> Option<String> {
    let arrived = now.records.saturating_sub(before.records);
    let rate = arrived as f64 / passed.as_secs_f64().max(0.001);
    let rate = if rate < 10.0 { format!("{rate:.1}") } else { count(rate.round() as u64) };
    let (records, topics) = (counted(now.records, "line"), counted(now.topics, "topic"));
    (arrived > 0).then(|| format!("{rate} lines/s, {records} in {topics}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pulse_is_short_and_silent_when_nothing_moves() {
        let total = |topics, records| Total { topics, records };
        let five = Duration::from_secs(5);
        let cases = [
            (total(1, 0), total(1, 103), Some("21 lines/s, 103 lines in 1 topic")),
            (total(1, 0), total(2, 3), Some("0.6 lines/s, 3 lines in 2 topics")),
            (total(2, 0), total(2, 6_000_000), Some("1,200,000 lines/s, 6,000,000 lines in 2 topics")),
            (total(2, 7), total(2, 7), None),
            (total(3, 9), total(2, 7), None),
        ];
        for (before, now, expected) in cases {
            assert_eq!(line(before, now, five).as_deref(), expected);
        }
    }
}
