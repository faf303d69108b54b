//! `skidway topics`: list, show, create, change, delete, and delete records.

use std::io::{IsTerminal, Write};

use futures::{StreamExt, TryStreamExt};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use skidway_record::TopicName;
use skidway_wire::TopicList;
use skidway_wire::http::{RecordsDeleted, TopicDescription};

use crate::args::{TopicAction, TopicSettings};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};
use skidway_daemon::human::{Align, Table, count, counted, size};

/// Descriptions asked for at a time while listing.
const DESCRIBED_AT_ONCE: usize = 8;

/// Does what is asked of topics; lists them if nothing is.
///
/// # Errors
/// What the collector refuses; a deletion that nobody confirmed.
pub async fn run(client: Client, action: Option<TopicAction>, form: Form, out: &mut impl Write) -> Result<(), Error> {
    match action.unwrap_or(TopicAction::List) {
        TopicAction::List => list(&client, form, out).await,
        TopicAction::Show { topic } => show(&client, &topic, form, out).await,
        TopicAction::Create { topic, settings } => create(&client, &topic, &settings, form, out).await,
        TopicAction::Alter { topic, settings } => alter(&client, &topic, &settings, form, out).await,
        TopicAction::DeleteRecords { topic, partition, before_offset } => {
            delete_records(&client, &topic, partition, &before_offset, form, out).await
        }
        TopicAction::Delete { topic, yes } => delete(&client, &topic, yes, form, out).await,
    }
}

async fn list(client: &Client, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        let body: Value = client.get("/v1/topics").await?;
        return Ok(writeln!(out, "{body}")?);
    }
    let list: TopicList = client.get("/v1/topics").await?;
    if list.topics.is_empty() {
        note("no topics yet; the first record produced makes one");
        return Ok(());
    }
    let described = list.topics.iter().map(|topic| describe_if_there(client, &topic.name));
    let described = futures::stream::iter(described).buffered(DESCRIBED_AT_ONCE);
    let described: Vec<Option<TopicDescription>> = described.try_collect().await?;
    Ok(write!(out, "{}", list_table(described.iter().flatten()))?)
}

async fn show(client: &Client, topic: &TopicName, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        let body: Value = client.get(&path(topic.as_str())).await?;
        return Ok(writeln!(out, "{body}")?);
    }
    let description: TopicDescription = client.get(&path(topic.as_str())).await?;
    Ok(write!(out, "{}", describe(&description))?)
}

async fn create(
    client: &Client,
    topic: &TopicName,
    settings: &TopicSettings,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    if describe_if_there(client, topic.as_str()).await?.is_some() {
        return Err(Error::Failed(format!(
            "topic {topic} exists already; change it with `skidway topics alter {topic}`"
        )));
    }
    put(client, topic, settings).await?;
    say(out, form, topic, "created")
}

async fn alter(
    client: &Client,
    topic: &TopicName,
    settings: &TopicSettings,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    if body(settings).is_empty() {
        return Err(Error::Usage(
            "nothing to change: give --partitions, --retention-age, --retention-bytes, --cleanup, --tombstone-retention, \
             --min-compaction-lag or --key-index".to_owned(),
        ));
    }
    let _must_exist: Value = client.get(&path(topic.as_str())).await?;
    put(client, topic, settings).await?;
    say(out, form, topic, "changed")
}

async fn delete(client: &Client, topic: &TopicName, yes: bool, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let description: TopicDescription = client.get(&path(topic.as_str())).await?;
    if !yes && !confirmed(&description)? {
        return Err(Error::Usage(format!("topic {topic} was not deleted; confirm with --yes")));
    }
    client.send(client.request(Method::DELETE, &path(topic.as_str()), &[])).await?;
    say(out, form, topic, "deleted")
}

async fn delete_records(
    client: &Client,
    topic: &TopicName,
    partition: u32,
    before_offset: &str,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    let (path, number) = (format!("{}/records", path(topic.as_str())), partition.to_string());
    let query = [("partition", number.as_str()), ("before_offset", before_offset)];
    let deleted: RecordsDeleted = client.fetch(client.request(Method::DELETE, &path, &query)).await?;
    let text = match form.json {
        true => json!(deleted).to_string(),
        false => format!("partition {partition} of topic {topic} starts at offset {}", count(deleted.log_start_offset)),
    };
    Ok(writeln!(out, "{text}")?)
}

/// Asks the person at the keyboard, if there is one.
fn confirmed(topic: &TopicDescription) -> Result<bool, Error> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    note(format_args!(
        "Delete topic {} with {}? Type its name to confirm:",
        topic.name,
        counted(records(topic), "record")
    ));
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(|source| Error::Input { path: "-".into(), source })?;
    Ok(answer.trim() == topic.name)
}

async fn put(client: &Client, topic: &TopicName, settings: &TopicSettings) -> Result<(), Error> {
    let body = Value::Object(body(settings)).to_string();
    let request = client.request(Method::PUT, &path(topic.as_str()), &[]);
    client.send(request.header(CONTENT_TYPE, "application/json").body(body)).await?;
    Ok(())
}

/// Makes the body of a change: what is not given stays as it is.
fn body(settings: &TopicSettings) -> Map<String, Value> {
    let mut retention = Map::new();
    retention.extend(settings.retention_age.clone().map(|age| ("age".to_owned(), age.into())));
    retention.extend(settings.retention_bytes.clone().map(|bytes| ("bytes".to_owned(), bytes.into())));
    let mut body = Map::new();
    body.extend(settings.key_index.map(|indexed| ("key_index".to_owned(), indexed.into())));
    body.extend(settings.partitions.map(|partitions| ("partitions".to_owned(), partitions.into())));
    let plain = [
        ("cleanup", &settings.cleanup),
        ("tombstone_retention", &settings.tombstone_retention),
        ("min_compaction_lag", &settings.min_compaction_lag),
    ];
    let given = plain.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
    body.extend(given);
    if !retention.is_empty() {
        body.insert("retention".to_owned(), retention.into());
    }
    body
}

/// Describes a topic; none if there is no such topic.
async fn describe_if_there(client: &Client, topic: &str) -> Result<Option<TopicDescription>, Error> {
    match client.get(&path(topic)).await {
        Ok(description) => Ok(Some(description)),
        Err(Error::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn say(out: &mut impl Write, form: Form, topic: &TopicName, done: &str) -> Result<(), Error> {
    let text =
        if form.json { json!({"topic": topic, "done": done}).to_string() } else { format!("topic {topic} {done}") };
    Ok(writeln!(out, "{text}")?)
}

fn path(topic: &str) -> String {
    format!("/v1/topics/{topic}")
}

fn records(topic: &TopicDescription) -> u64 {
    topic.partitions.iter().map(|it| it.high_watermark.saturating_sub(it.log_start_offset)).sum()
}

fn list_table<'a>(topics: impl Iterator<Item = &'a TopicDescription>) -> Table {
    let columns =
        [("TOPIC", Align::Left), ("PARTITIONS", Align::Right), ("RECORDS", Align::Right), ("SIZE", Align::Right)];
    let mut table = Table::new(columns);
    for topic in topics {
        let bytes = topic.partitions.iter().map(|it| it.bytes).sum();
        table.row([topic.name.clone(), count(topic.partitions.len() as u64), count(records(topic)), size(bytes)]);
    }
    table
}

/// Shows a topic's settings, one a line, and its partitions.
fn describe(topic: &TopicDescription) -> String {
    let mut text = format!("topic {}\n", topic.name);
    let config = serde_json::to_value(&topic.config).unwrap_or_default();
    let members = config.as_object().into_iter().flatten();
    for (name, value) in members.flat_map(|(name, value)| settings(name, value)) {
        text.push_str(&format!("  {name} = {value}\n"));
    }
    let columns = ["PARTITION", "START OFFSET", "HIGH WATERMARK", "RECORDS", "SIZE"];
    let mut table = Table::new(columns.map(|heading| (heading, Align::Right)));
    for partition in &topic.partitions {
        let records = partition.high_watermark.saturating_sub(partition.log_start_offset);
        let numbers = [u64::from(partition.partition), partition.log_start_offset, partition.high_watermark, records];
        table.row(numbers.map(count).into_iter().chain([size(partition.bytes)]));
    }
    format!("{text}\n{table}")
}

/// Names a setting as the configuration does: `retention.age`, not a nested object.
fn settings(name: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(inner) => {
            inner.iter().flat_map(|(key, value)| settings(&format!("{name}.{key}"), value)).collect()
        }
        Value::String(text) => vec![(name.to_owned(), text.clone())],
        Value::Null => vec![(name.to_owned(), "unlimited".to_owned())],
        other => vec![(name.to_owned(), other.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicDescription {
        serde_json::from_value(json!({
            "name": "nginx",
            "config": {
                "partitions": 2,
                "retention": {"age": "7d", "bytes": null},
                "cleanup": "delete",
                "tombstone_retention": "1d",
                "min_compaction_lag": "0s",
                "key_index": false,
            },
            "partitions": [
                {"partition": 0, "log_start_offset": 10, "high_watermark": 1_510, "bytes": 204_800},
                {"partition": 1, "log_start_offset": 0, "high_watermark": 0, "bytes": 0},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_list_sums_up_each_topic() {
        let expected = "TOPIC  PARTITIONS  RECORDS     SIZE\nnginx           2    1,500  200 KiB\n";
        assert_eq!(list_table([topic()].iter()).to_string(), expected);
    }

    #[test]
    fn a_description_shows_settings_and_partitions() {
        let expected = "\
topic nginx
  cleanup = delete
  key_index = false
  min_compaction_lag = 0s
  partitions = 2
  retention.age = 7d
  retention.bytes = unlimited
  tombstone_retention = 1d

PARTITION  START OFFSET  HIGH WATERMARK  RECORDS     SIZE
        0            10           1,510    1,500  200 KiB
        1             0               0        0      0 B
";
        assert_eq!(describe(&topic()), expected);
    }

    #[test]
    fn only_what_was_given_is_sent() {
        let given = |partitions, age: Option<&str>, bytes: Option<&str>| {
            let (retention_age, retention_bytes) = (age.map(str::to_owned), bytes.map(str::to_owned));
            let settings = TopicSettings { partitions, retention_age, retention_bytes, ..TopicSettings::default() };
            Value::Object(body(&settings))
        };
        let cases = [
            (given(None, None, None), json!({})),
            (given(Some(8), None, None), json!({"partitions": 8})),
            (given(None, Some("7d"), None), json!({"retention": {"age": "7d"}})),
            (
                given(Some(1), Some("7d"), Some("1GiB")),
                json!({"partitions": 1, "retention": {"age": "7d", "bytes": "1GiB"}}),
            ),
        ];
        let compact = TopicSettings { cleanup: Some("compact".to_owned()), ..TopicSettings::default() };
        assert_eq!(Value::Object(body(&compact)), json!({"cleanup": "compact"}));
        for (body, expected) in cases {
            assert_eq!(body, expected);
        }
    }
}
