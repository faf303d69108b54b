//! What each call needs: the one table. A test holds it against the description of the interface, so that no call is without a line.

use axum::http::Method;
use skidway_wire::access::Scope;

/// Says what a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: probes, and beacons, whose URL is all they need.
    Nothing,
    /// Any token. The answer shows what the token may see.
    AnyToken,
    /// `metrics`.
    Metrics,
    /// `admin` of everything.
    Everything,
    /// Any scope on the topic in the path.
    SeenTopic,
    /// A scope on the topic in the path.
    Topic(Scope),
    /// `produce` on the topic in the path, and room for more.
    Produce,
    /// `admin` on the topic in the path, and room for another topic.
    PutTopic,
    /// `consume` on all that the parameter `topics` can match.
    Topics,
    /// A scope on the group's name.
    Group(Scope),
    /// `consume` on the group's name, and on all topics of the member.
    Member,
    /// A scope on the queue's name.
    Queue(Scope),
    /// `admin` on the queue's name, and `consume` on its topic if it is there. Of topics in the body the handler makes sure.
    ChangeQueue,
    /// A scope on the queue's name and on its topic.
    QueueRecords(Scope),
    /// The credential of the agent in the path.
    Agent,
    /// An agent's credential. The handler makes sure of the agent, and of the topics.
    Commit,
    /// A join token.
    Join,
}

/// Is a line of the table.
#[derive(Debug)]
pub(super) struct Rule {
    method: &'static str,
    route: &'static str,
    /// What it needs.
    pub(super) needs: Needs,
    /// What the audit topic calls it.
    pub(super) action: &'static str,
    /// Whether it is in the audit topic when it was done, too.
    pub(super) is_recorded: bool,
}

const fn rule(method: &'static str, route: &'static str, needs: Needs, action: &'static str) -> Rule {
    Rule { method, route, needs, action, is_recorded: false }
}

const fn recorded(method: &'static str, route: &'static str, needs: Needs, action: &'static str) -> Rule {
    Rule { method, route, needs, action, is_recorded: true }
}

use Needs::*;

/// What each call needs.
const RULES: [Rule; 51] = [
    rule("GET", "/healthz", Nothing, "health"),
    rule("GET", "/readyz", Nothing, "health"),
    rule("GET", "/metrics", Metrics, "metrics"),
    rule("GET", "/openapi.json", AnyToken, "openapi"),
    rule("GET", "/v1", AnyToken, "about"),
    rule("GET", "/v1/log-level", Everything, "log-level.show"),
    recorded("PUT", "/v1/log-level", Everything, "log-level.set"),
    recorded("DELETE", "/v1/log-level", Everything, "log-level.reset"),
    rule("GET", "/v1/topics", AnyToken, "topics.list"),
    rule("GET", "/v1/topics/{topic}", SeenTopic, "topics.show"),
    recorded("PUT", "/v1/topics/{topic}", PutTopic, "topics.put"),
    recorded("DELETE", "/v1/topics/{topic}", Topic(Scope::Admin), "topics.delete"),
    rule("GET", "/v1/topics/{topic}/records", Topic(Scope::Consume), "records.read"),
    rule("POST", "/v1/topics/{topic}/records", Produce, "records.produce"),
    recorded("DELETE", "/v1/topics/{topic}/records", Topic(Scope::Admin), "records.delete"),
    rule("GET", "/v1/topics/{topic}/stream", Topic(Scope::Consume), "records.read"),
    rule("GET", "/v1/topics/{topic}/table", Topic(Scope::Consume), "records.read"),
    rule("GET", "/v1/topics/{topic}/table/{key}", Topic(Scope::Consume), "records.read"),
    rule("GET", "/v1/records", Topics, "records.read"),
    rule("GET", "/v1/stream", Topics, "records.read"),
    rule("GET", "/v1/sinks", Everything, "sinks.list"),
    rule("GET", "/v1/sinks/{sink}", Everything, "sinks.show"),
    recorded("POST", "/v1/sinks/{sink}/pause", Everything, "sinks.pause"),
    recorded("POST", "/v1/sinks/{sink}/resume", Everything, "sinks.resume"),
    rule("GET", "/v1/sinks/{sink}/plan", Everything, "sinks.plan"),
    rule("POST", "/v1/sinks/{sink}/verify", Everything, "sinks.verify"),
    recorded("POST", "/v1/sinks/{sink}/repair", Everything, "sinks.repair"),
    recorded("POST", "/v1/sinks/{sink}/replay", Everything, "sinks.replay"),
    rule("GET", "/v1/groups", AnyToken, "groups.list"),
    rule("GET", "/v1/groups/{group}", Group(Scope::Consume), "groups.show"),
    recorded("DELETE", "/v1/groups/{group}", Group(Scope::Admin), "groups.delete"),
    rule("GET", "/v1/groups/{group}/records", Member, "groups.read"),
    rule("GET", "/v1/groups/{group}/stream", Member, "groups.read"),
    rule("POST", "/v1/groups/{group}/commit", Group(Scope::Consume), "groups.commit"),
    recorded("POST", "/v1/groups/{group}/reset", Group(Scope::Admin), "groups.reset"),
    rule("GET", "/v1/queues", AnyToken, "queues.list"),
    rule("GET", "/v1/queues/{queue}", QueueRecords(Scope::Consume), "queues.show"),
    recorded("PUT", "/v1/queues/{queue}", ChangeQueue, "queues.put"),
    recorded("DELETE", "/v1/queues/{queue}", Queue(Scope::Admin), "queues.delete"),
    rule("POST", "/v1/queues/{queue}/receive", QueueRecords(Scope::Consume), "queues.receive"),
    rule("POST", "/v1/queues/{queue}/ack", QueueRecords(Scope::Consume), "queues.ack"),
    rule("POST", "/v1/queues/{queue}/nack", QueueRecords(Scope::Consume), "queues.nack"),
    rule("POST", "/v1/queues/{queue}/extend", QueueRecords(Scope::Consume), "queues.extend"),
    recorded("POST", "/v1/queues/{queue}/redrive", ChangeQueue, "queues.redrive"),
    rule("POST", "/v1/queues/{queue}/send", QueueRecords(Scope::Produce), "queues.send"),
    rule("GET", "/v1/agents", AnyToken, "agents.list"),
    rule("POST", "/v1/agents/{agent}/session", Agent, "agents.session"),
    rule("GET", "/v1/agents/{agent}/sources", Agent, "agents.sources"),
    rule("POST", "/v1/commits", Commit, "agents.commit"),
    recorded("POST", "/v1/agents/{agent}/enrol", Join, "agents.enrol"),
    rule("POST", "/v1/beacons/{token}", Nothing, "beacons.send"),
];

/// What calls about tokens need: a table of its own, so that neither is longer than a look.
const RULES_OF_TOKENS: [Rule; 4] = [
    rule("GET", "/v1/tokens", Everything, "tokens.list"),
    recorded("POST", "/v1/tokens", Everything, "tokens.make"),
    recorded("POST", "/v1/tokens/join", Everything, "tokens.join"),
    recorded("DELETE", "/v1/tokens/{id}", Everything, "tokens.revoke"),
];

/// Finds what a call needs; `None` if it is not in the table.
pub(super) fn rule_of(method: &Method, route: &str) -> Option<&'static Rule> {
    // What answers GET answers HEAD.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    RULES.iter().chain(&RULES_OF_TOKENS).find(|rule| rule.method == method && rule.route == route)
}

/// Gives the statuses with which a call may be refused before its handler sees it, whatever it needs: of a join token, too, requests are counted.
pub(in crate::listen::http) fn refusals(method: &Method, route: &str) -> &'static [u16] {
    match rule_of(method, route).map(|rule| rule.needs) {
        None | Some(Nothing) => &[],
        Some(_) => &[401, 403, 429],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_there_is_has_a_line_in_the_table_and_no_line_is_without_its_call() {
        let described = crate::listen::http::described();
        let mut calls = BTreeSet::from([("GET".to_owned(), "/openapi.json".to_owned())]);
        for (route, item) in &described.get_openapi().paths.paths {
            let methods = [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete)];
            calls.extend(
                methods.iter().filter(|(_, it)| it.is_some()).map(|(method, _)| ((*method).to_owned(), route.clone())),
            );
        }
        let lines: BTreeSet<_> =
            RULES.iter().chain(&RULES_OF_TOKENS).map(|rule| (rule.method.to_owned(), rule.route.to_owned())).collect();
        assert_eq!(calls, lines, "what a call needs is said in listen/http/guard.rs");
        assert_eq!(lines.len(), RULES.len() + RULES_OF_TOKENS.len(), "each once");
    }

    #[test]
    fn only_probes_and_beacons_need_nothing() {
        let open: Vec<_> = RULES.iter().filter(|rule| rule.needs == Nothing).map(|rule| rule.route).collect();
        assert_eq!(open, ["/healthz", "/readyz", "/v1/beacons/{token}"]);
        assert!(rule_of(&Method::HEAD, "/v1/topics").is_some());
        assert!(rule_of(&Method::PATCH, "/v1/topics").is_none() && rule_of(&Method::GET, "/new").is_none());
    }
}
