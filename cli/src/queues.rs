//! `skidway queues`: records given away one by one (docs/queues.md): how queues stand, and a worker's moves by hand.

use std::io::Write;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde_json::Value;
use skidway_daemon::human::{Align, Table, age, count};
use skidway_record::TopicName;
use skidway_wire::queues::{
    AckRequest, BackoffChange, ExtendRequest, NackRequest, QueueChange, QueueDescription, QueueList, ReceiveRequest,
    Received, RedriveRequest, Redriven, SettleResult, Settlements, queue_path,
};

use crate::args::{QueueAction, QueuePut};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};

/// Does what is asked of queues; lists them if nothing is.
///
/// # Errors
/// What the collector refuses.
pub async fn run(client: Client, action: Option<QueueAction>, form: Form, out: &mut impl Write) -> Result<(), Error> {
    match action.unwrap_or(QueueAction::List) {
        QueueAction::List => list(&client, form, out).await,
        QueueAction::Show { queue } => show(&client.get(&path(&queue, "")).await?, form, out),
        QueueAction::Put { queue, settings } => {
            let request = with(client.request(Method::PUT, &path(&queue, ""), &[]), &change(settings));
            show(&client.fetch(request).await?, form, out)
        }
        QueueAction::Delete { queue } => {
            client.send(client.request(Method::DELETE, &path(&queue, ""), &[])).await?;
            note(format_args!("queue {queue} is deleted; its topics stay"));
            Ok(())
        }
        QueueAction::Receive { queue, max, wait, lease } => {
            let asked = ReceiveRequest { max: Some(max), wait, lease, ..ReceiveRequest::default() };
            // Waiting may take longer than answers otherwise do.
            let request = with(client.stream(Method::POST, &path(&queue, "/receive"), &[]), &asked);
            receive(&client, request, form, out).await
        }
        QueueAction::Ack { queue, receipts } => {
            settle(&client, &path(&queue, "/ack"), &AckRequest { receipts }, form, out).await
        }
        QueueAction::Nack { queue, receipts, delay, reason, dead } => {
            let asked = NackRequest { receipts, delay, reason, dead };
            settle(&client, &path(&queue, "/nack"), &asked, form, out).await
        }
        QueueAction::Extend { queue, receipts, lease } => {
            settle(&client, &path(&queue, "/extend"), &ExtendRequest { receipts, lease }, form, out).await
        }
        QueueAction::Redrive { queue, max, offsets } => {
            let offsets = (!offsets.is_empty()).then_some(offsets);
            let asked = RedriveRequest { max, offsets };
            let body: Value = client.fetch(post(&client, &path(&queue, "/redrive"), &asked)).await?;
            let Some(redriven) = parsed::<Redriven>(&body, form) else { return Ok(writeln!(out, "{body}")?) };
            let (back, left) = (count(redriven.redriven), count(redriven.dead_letters));
            Ok(writeln!(out, "redriven: {back}, dead letters left: {left}")?)
        }
    }
}

fn path(queue: &TopicName, action: &str) -> String {
    queue_path(queue.as_str(), action)
}

fn post(client: &Client, path: &str, body: &impl Serialize) -> RequestBuilder {
    with(client.request(Method::POST, path, &[]), body)
}

/// Adds a JSON body.
fn with(request: RequestBuilder, body: &impl Serialize) -> RequestBuilder {
    let body = serde_json::to_vec(body).expect("requests are plain JSON");
    request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body)
}

/// Reads an answer that is to be shown to a person; `None` if it is to be shown as it came.
fn parsed<T: serde::de::DeserializeOwned>(body: &Value, form: Form) -> Option<T> {
    (!form.json).then(|| serde_json::from_value(body.clone()).ok()).flatten()
}

fn change(put: QueuePut) -> QueueChange {
    let has_backoff = put.backoff_initial.is_some() || put.backoff_max.is_some();
    let backoff = has_backoff.then_some(BackoffChange { initial: put.backoff_initial, max: put.backoff_max });
    QueueChange {
        topic: put.topic.map(|topic| topic.to_string()),
        lease: put.lease,
        max_deliveries: put.max_deliveries,
        backoff,
        delay: put.delay,
        dead_letter_topic: put.dead_letter_topic.map(|topic| topic.to_string()),
        ordered_by_key: put.ordered_by_key.then_some(true),
        from: put.from,
        max_in_flight: put.max_in_flight,
    }
}

async fn list(client: &Client, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let body: Value = client.get("/v1/queues").await?;
    let Some(list) = parsed::<QueueList>(&body, form) else { return Ok(writeln!(out, "{body}")?) };
    if list.queues.is_empty() {
        note("no queues; `skidway queues put NAME` makes one of the topic of that name");
        return Ok(());
    }
    let columns = [
        ("QUEUE", Align::Left),
        ("STATE", Align::Left),
        ("READY", Align::Right),
        ("LEASED", Align::Right),
        ("DELAYED", Align::Right),
        ("OLDEST", Align::Right),
        ("DEAD", Align::Right),
        ("CONSUMERS", Align::Right),
        ("TOPIC", Align::Left),
    ];
    let mut table = Table::new(columns);
    for queue in &list.queues {
        table.row([
            queue.name.clone(),
            queue.state.clone(),
            count(queue.ready),
            count(queue.leased),
            count(queue.delayed),
            oldest(queue),
            count(queue.dead_letters),
            count(queue.consumers),
            queue.settings.topic.clone(),
        ]);
    }
    Ok(write!(out, "{table}")?)
}

fn oldest(queue: &QueueDescription) -> String {
    queue.oldest_age_ms.map_or_else(|| "-".to_owned(), |ms| age(Duration::from_millis(ms)))
}

fn show(body: &Value, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let Some(queue) = parsed::<QueueDescription>(body, form) else { return Ok(writeln!(out, "{body}")?) };
    let settings = &queue.settings;
    writeln!(out, "{} of topic {}: {}", queue.name, settings.topic, queue.state)?;
    let order = if settings.ordered_by_key { "one record of a key at a time" } else { "none" };
    let backoff = format!("{} to {}", settings.backoff.initial, settings.backoff.max);
    let dead_letters_in = settings.dead_letter_topic.as_ref().map(|topic| format!(" in {topic}")).unwrap_or_default();
    for (what, text) in [
        ("lease", settings.lease.clone()),
        ("deliveries at most", settings.max_deliveries.to_string()),
        ("back-off", backoff),
        ("delay", settings.delay.clone()),
        ("order", order.to_owned()),
        ("in flight at most, by partition", count(settings.max_in_flight.into())),
        ("ready", count(queue.ready)),
        ("leased", count(queue.leased)),
        ("delayed", count(queue.delayed)),
        ("oldest", oldest(&queue)),
        ("skipped", count(queue.skipped)),
        ("dead letters", count(queue.dead_letters) + &dead_letters_in),
        ("consumers", count(queue.consumers)),
    ] {
        writeln!(out, "{what}: {text}")?;
    }
    let columns = [
        ("PARTITION", Align::Right),
        ("DONE BELOW", Align::Right),
        ("SEEN BELOW", Align::Right),
        ("END", Align::Right),
        ("READY", Align::Right),
        ("LEASED", Align::Right),
        ("DELAYED", Align::Right),
    ];
    let mut table = Table::new(columns);
    for it in &queue.partitions {
        let offsets = [it.start_offset, it.end_offset, it.high_watermark].map(|offset| offset.to_string());
        let counts = [it.ready, it.leased, it.delayed].map(count);
        table.row([it.partition.to_string()].into_iter().chain(offsets).chain(counts));
    }
    Ok(write!(out, "{table}")?)
}

async fn receive(client: &Client, request: RequestBuilder, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let body: Value = client.fetch(request).await?;
    let Some(received) = parsed::<Received>(&body, form) else { return Ok(writeln!(out, "{body}")?) };
    if received.messages.is_empty() {
        note("nothing to receive");
    }
    for message in received.messages {
        let record = message.record;
        let place = format!("{}-{}@{}", record.topic, record.partition, record.offset);
        note(format_args!("{place}, delivery {}, until {}", message.deliveries, message.lease_until));
        let value = record.value.or(record.value_base64).unwrap_or_default();
        let shown: String = match form.terminal {
            true => value.chars().map(|it| if it.is_control() { ' ' } else { it }).collect(),
            false => value,
        };
        writeln!(out, "{}\t{shown}", message.receipt)?;
    }
    Ok(())
}

async fn settle(
    client: &Client,
    path: &str,
    asked: &impl Serialize,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    let body: Value = client.fetch(post(client, path, asked)).await?;
    let Some(settlements) = parsed::<Settlements>(&body, form) else { return Ok(writeln!(out, "{body}")?) };
    for settlement in settlements.results {
        let result = match settlement.result {
            SettleResult::Done => "done",
            SettleResult::DeadLettered => "dead-lettered",
            SettleResult::AlreadyDone => "already done",
            SettleResult::LeaseExpired => "lease expired: somebody else has it",
        };
        writeln!(out, "{}\t{result}", settlement.receipt)?;
    }
    Ok(())
}
