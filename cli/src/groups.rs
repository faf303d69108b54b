//! `skidway groups`: how consumer groups stand, commit for them, put them elsewhere, forget them.

use std::io::Write;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skidway_daemon::human::{Align, Table, count};
use skidway_wire::groups::{
    GroupCommit, GroupCommitted, GroupDescription, GroupList, GroupReset, GroupState, GroupWasReset, PartitionOffset,
    group_path,
};

use crate::args::GroupAction;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};

/// Does what is asked of groups; lists them if nothing is.
///
/// # Errors
/// What the collector refuses.
pub async fn run(client: Client, action: Option<GroupAction>, form: Form, out: &mut impl Write) -> Result<(), Error> {
    match action.unwrap_or(GroupAction::List) {
        GroupAction::List => list(&client, form, out).await,
        GroupAction::Show { group } => show(&client, &group, form, out).await,
        GroupAction::Commit { group, token, offsets } => {
            let offsets = if offsets.is_empty() { None } else { Some(offsets.iter().map(offset).collect()) };
            let body = GroupCommit { token, offsets, ..GroupCommit::default() };
            commit(&client, &group, &body, form, out).await
        }
        GroupAction::Reset { group, topics, to, offsets, force, dry_run } => {
            let offsets = if offsets.is_empty() { None } else { Some(offsets.iter().map(offset).collect()) };
            let topics = if topics.is_empty() { None } else { Some(topics) };
            let body = GroupReset { topics, to, offsets, force, dry_run };
            reset(&client, &group, &body, form, out).await
        }
        GroupAction::Delete { group, yes } => delete(&client, &group, yes).await,
    }
}

async fn list(client: &Client, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let Some(list) = fetch::<GroupList>(client, Method::GET, "/v1/groups", None::<&()>, form, out).await? else {
        return Ok(());
    };
    if list.groups.is_empty() {
        note("no groups; whoever reads /v1/groups/NAME/records?topics=... begins one");
        return Ok(());
    }
    let columns = [
        ("GROUP", Align::Left),
        ("STATE", Align::Left),
        ("MEMBERS", Align::Right),
        ("LAG", Align::Right),
        ("TOPICS", Align::Left),
    ];
    let mut table = Table::new(columns);
    for group in list.groups {
        let (members, lag) = (count(group.members), count(group.lag));
        table.row([group.name, state(group.state).to_owned(), members, lag, group.topics.join(",")]);
    }
    Ok(write!(out, "{table}")?)
}

async fn show(client: &Client, group: &str, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let path = group_path(group, "");
    let shown = fetch::<GroupDescription>(client, Method::GET, &path, None::<&()>, form, out).await?;
    let Some(group) = shown else { return Ok(()) };
    writeln!(out, "{}: {}, generation {}, lag {}", group.name, state(group.state), group.generation, count(group.lag))?;
    for member in &group.members {
        let (has, topics) = (member.partitions.len(), member.topics.join(","));
        writeln!(out, "member {} ({}) since {}: {topics}, {has} partitions", member.id, member.client, member.since)?;
    }
    let columns = [
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("COMMITTED", Align::Right),
        ("END", Align::Right),
        ("LAG", Align::Right),
        ("LOST", Align::Right),
        ("MEMBER", Align::Left),
    ];
    let mut table = Table::new(columns);
    for it in group.partitions {
        let number = |offset: Option<u64>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let moves = if it.moving { " (leaving)" } else { "" };
        table.row([
            it.topic,
            it.partition.to_string(),
            number(it.committed_offset),
            number(it.high_watermark),
            count(it.lag),
            count(it.lost),
            it.member.unwrap_or_else(|| "-".to_owned()) + moves,
        ]);
    }
    Ok(write!(out, "{table}")?)
}

async fn commit(
    client: &Client,
    group: &str,
    body: &GroupCommit,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Error> {
    let path = group_path(group, "/commit");
    let Some(committed) = fetch::<GroupCommitted>(client, Method::POST, &path, Some(body), form, out).await? else {
        return Ok(());
    };
    for it in committed.committed {
        writeln!(out, "{} partition {}: {}", it.topic, it.partition, it.offset)?;
    }
    Ok(())
}

async fn reset(client: &Client, group: &str, body: &GroupReset, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let path = group_path(group, "/reset");
    let Some(reset) = fetch::<GroupWasReset>(client, Method::POST, &path, Some(body), form, out).await? else {
        return Ok(());
    };
    if reset.dry_run {
        note("nothing is changed; without --dry-run it would be:");
    }
    for it in reset.partitions {
        let from = it.from.map_or_else(|| "nothing".to_owned(), |from| from.to_string());
        writeln!(out, "{} partition {}: {from} -> {}", it.topic, it.partition, it.to)?;
    }
    Ok(())
}

async fn delete(client: &Client, group: &str, yes: bool) -> Result<(), Error> {
    if !yes {
        return Err(Error::Usage(format!("this forgets all that group {group} has committed; say --yes")));
    }
    client.send(client.request(Method::DELETE, &group_path(group, ""), &[])).await?;
    note(format_args!("group {group} is forgotten"));
    Ok(())
}

/// Asks and reads the answer; prints it as it is, and gives `None`, if JSON is wanted.
async fn fetch<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
    form: Form,
    out: &mut impl Write,
) -> Result<Option<T>, Error> {
    let mut request = client.request(method, path, &[]);
    if let Some(body) = body {
        let body = serde_json::to_vec(body).expect("what is asked is plain JSON");
        request = request.header(CONTENT_TYPE, "application/json").body(body);
    }
    if form.json {
        let answer: Value = client.fetch(request).await?;
        writeln!(out, "{answer}")?;
        return Ok(None);
    }
    client.fetch(request).await.map(Some)
}

fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "empty",
        GroupState::Stable => "stable",
        GroupState::Reconciling => "reconciling",
    }
}

fn offset((topic, partition, offset): &(String, u32, u64)) -> PartitionOffset {
    PartitionOffset { topic: topic.clone(), partition: *partition, offset: *offset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::{Stub, success};

    const TEXT: Form = Form { json: false, terminal: false, colours: false };

    async fn said(stub: &Stub, action: GroupAction) -> String {
        let mut out = Vec::new();
        run(stub.client(), Some(action), TEXT, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn a_group_is_shown_with_its_lag() {
        let body = r#"{"name":"g","state":"stable","generation":3,"log_epoch":1,"lag":1234,
            "members":[{"id":"m1","client":"worker","since":"2026-01-01T00:00:00.000Z","topics":["a","b-*"],"from":"earliest",
                        "session_timeout_ms":30000,"partitions":[{"topic":"a","partition":0}]}],
            "partitions":[{"topic":"a","partition":0,"member":"m1","moving":false,"committed_offset":5,
                           "committed_at":"2026-01-01T00:00:00.000Z","metadata":null,"log_start_offset":0,"high_watermark":1239,
                           "lag":1234,"lost":0}]}"#;
        let stub = Stub::start(vec![success(body)]);
        let said = said(&stub, GroupAction::Show { group: "g".to_owned() }).await;
        for words in ["g: stable, generation 3", "member m1 (worker)", "a,b-*, 1 partitions", "1239"] {
            assert!(said.contains(words), "{words} in {said}");
        }
        assert!(stub.asked()[0].starts_with("GET /v1/groups/g "));
    }

    #[tokio::test]
    async fn a_reset_says_what_it_would_do() {
        let body = r#"{"dry_run":true,"partitions":[{"topic":"a","partition":0,"from":5,"to":0}]}"#;
        let stub = Stub::start(vec![success(body)]);
        let action = GroupAction::Reset {
            group: "g".to_owned(),
            topics: vec!["a".to_owned()],
            to: Some("earliest".to_owned()),
            offsets: Vec::new(),
            force: false,
            dry_run: true,
        };
        assert_eq!(said(&stub, action).await, "a partition 0: 5 -> 0\n");
        let asked = &stub.asked()[0];
        assert!(asked.ends_with(r#"{"topics":["a"],"to":"earliest","force":false,"dry_run":true}"#), "{asked}");
    }
}
