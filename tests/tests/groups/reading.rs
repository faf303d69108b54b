//! Members read: streams and pages, commits, partitions that move, what time and resets do.

use serde_json::Value;
use skidway_tests::Client;

use super::{Member, commit, number, numbers_of, produce, serving, show, sorted};

/// Gives what is committed by partition.
fn committed(client: &Client, group: &str) -> Vec<u64> {
    let shown = show(client, group);
    shown["partitions"].as_array().unwrap().iter().map(|it| it["committed_offset"].as_u64().unwrap()).collect()
}

#[test]
fn a_group_goes_on_where_it_committed() {
    let (_site, mut collector, client) = serving("");
    produce(&client, 0..40);
    let member = Member::join(&client, "g", "");
    let (first, token) = member.records(10);
    assert_eq!(commit(&client, "g", &token).status, 200);
    member.records(10);
    drop(member);
    collector.program().kill9();
    collector.start();
    let member = Member::join(&client, "g", "");
    let (rest, token) = member.records(30);
    assert_eq!(
        sorted([first, rest].concat()),
        (0..40).collect::<Vec<u64>>(),
        "each once, what was not committed again"
    );
    let answer = commit(&client, "g", &token).json();
    assert_eq!(answer["committed"].as_array().unwrap().len(), 4, "{answer}");
    assert_eq!(show(&client, "g")["lag"], 0);
}

#[test]
fn members_share_partitions_and_a_join_moves_no_more_than_needed() {
    let (_site, _collector, client) = serving("");
    let one = Member::join(&client, "g", "");
    one.reads(&[0, 1, 2, 3]);
    let two = Member::join(&client, "g", "");
    let told = one.reads(&[0, 1]);
    assert_eq!(numbers_of(&told["assignment"]["moved"]), [2, 3], "{told}");
    two.reads(&[2, 3]);
    produce(&client, 0..40);
    let (numbers, _) = one.records(20);
    assert!(numbers.iter().all(|number| number % 4 < 2), "{numbers:?}");
    let (numbers, _) = two.records(20);
    assert!(numbers.iter().all(|number| number % 4 >= 2), "{numbers:?}");
    drop(one);
    let told = two.reads(&[0, 1, 2, 3]);
    assert_eq!(numbers_of(&told["assignment"]["added"]), [0, 1], "{told}");
    let (again, _) = two.records(20);
    assert!(again.iter().all(|number| number % 4 < 2), "what was not committed comes again: {again:?}");
}

#[test]
fn a_member_commits_what_it_was_given_before_its_partition_moves() {
    let (_site, _collector, client) = serving("rebalance_timeout = \"5m\"");
    produce(&client, 0..40);
    let one = Member::join(&client, "g", "");
    one.records(40);
    let two = Member::join(&client, "g", "");
    two.reads(&[]);
    let told = one.reads(&[0, 1]);
    assert_eq!(numbers_of(&told["assignment"]["revoked"]), [2, 3], "{told}");
    assert_eq!(show(&client, "g")["state"], "reconciling");
    assert_eq!(commit(&client, "g", told["next"].as_str().unwrap()).status, 200);
    two.reads(&[2, 3]);
    assert_eq!(committed(&client, "g"), [10, 10, 10, 10]);
    assert_eq!(show(&client, "g")["state"], "stable");
    produce(&client, 40..44);
    assert_eq!(sorted(two.records(2).0), [42, 43], "nothing twice");
}

#[test]
fn a_token_from_before_its_partitions_moved_commits_only_what_stayed() {
    let (_site, _collector, client) = serving("rebalance_timeout = \"0s\"");
    produce(&client, 0..40);
    let one = Member::join(&client, "g", "");
    let (_, token) = one.records(40);
    let two = Member::join(&client, "g", "");
    two.reads(&[2, 3]);
    let answer = commit(&client, "g", &token);
    assert_eq!((answer.status, answer.json()["type"].as_str()), (409, Some("fenced")), "{}", answer.text());
    assert_eq!(numbers_of(&answer.json()["committed"]), [0, 1]);
    assert_eq!(numbers_of(&answer.json()["refused"]), [2, 3]);
    assert_eq!(committed(&client, "g"), [10, 10, 0, 0]);
    assert_eq!(two.records(20).0.len(), 20, "the other member has them again");
}

/// Asks for a page as a member of `g`.
fn page(client: &Client, query: &str) -> Value {
    let answer = client.get(&format!("/v1/groups/g/records?topics=t&{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn values(page: &Value) -> Vec<u64> {
    page["records"].as_array().unwrap().iter().map(number).collect()
}

#[test]
fn pages_are_committed_by_asking_for_the_next_and_given_again_if_their_answer_was_lost() {
    let (_site, _collector, client) = serving("");
    produce(&client, 0..40);
    let first = page(&client, "max_records=10");
    assert_eq!(numbers_of(&first["assignment"]["partitions"]), [0, 1, 2, 3], "{first}");
    let member = first["member"].as_str().unwrap();
    let second = page(&client, &format!("max_records=10&commit=next&member={member}"));
    assert!(second["assignment"].is_null(), "nothing is told twice: {second}");
    assert_eq!(committed(&client, "g").iter().sum::<u64>(), 10, "the first page is committed, the second is not");
    let again = page(&client, &format!("max_records=10&commit=next&member={member}"));
    assert_eq!((values(&again), &again["member"]), (values(&second), &second["member"]), "the same page again");
    let member = again["member"].as_str().unwrap();
    let rest = page(&client, &format!("commit=next&member={member}"));
    let all = [values(&first), values(&second), values(&rest)].concat();
    assert_eq!(sorted(all), (0..40).collect::<Vec<u64>>());
    let member = rest["member"].as_str().unwrap();
    assert_eq!(values(&page(&client, &format!("commit=next&member={member}"))), [0; 0]);
    assert_eq!(show(&client, "g")["lag"], 0);
}

#[test]
fn a_page_client_whose_lease_ended_is_gone_and_its_partitions_go_to_others() {
    let (_site, _collector, client) = serving("");
    produce(&client, 0..40);
    let first = page(&client, "session_timeout=1s&client=slow");
    assert_eq!(show(&client, "g")["members"][0]["client"], "slow");
    let other = Member::join(&client, "g", "");
    other.reads(&[0, 1, 2, 3]);
    assert_eq!(other.records(40).0.len(), 40, "what was not committed comes again");
    let path = format!("/v1/groups/g/records?topics=t&member={}", first["member"].as_str().unwrap());
    let answer = client.get(&path);
    assert_eq!((answer.status, answer.json()["type"].as_str()), (410, Some("member-gone")), "{}", answer.text());
    let answer = commit(&client, "g", first["next"].as_str().unwrap());
    assert_eq!((answer.status, answer.json()["type"].as_str()), (409, Some("fenced")), "{}", answer.text());
}
