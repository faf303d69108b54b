//! The collectors that an agent's configuration names, tried as the agent does: with its authorities, its certificate and its credential. Ships
//! nothing and enrols nobody. What came of it is judged apart (pure).

use std::time::Duration;

use futures::future::try_join_all;
use reqwest::Url;
use skidway_agent::Config;
use skidway_agent::error::RequestError;
use skidway_agent::ship::http::Doors;
use skidway_daemon::secret;

use super::asking::ahead;
use super::collector::judge_clock;
use super::finding::Finding;

/// A collector that is well answers within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds what came of trying one address.
#[derive(Debug, Default, Clone)]
pub struct Door {
    /// The address, without secrets.
    pub url: String,
    /// Why nothing can be done with it, and what to do about that if it is known.
    pub silent: Option<(String, Option<String>)>,
    /// Its clock is ahead of ours by so many seconds.
    pub clock_ahead_seconds: Option<i64>,
    /// The status and words with which the agent is not let in.
    pub refused: Option<(u16, String)>,
    /// What the agent, which has no credential yet, will enrol with when it starts; or why it cannot.
    pub join_token: Option<Result<(), String>>,
}

/// Tries every address that a configuration names, all at once.
///
/// # Errors
/// A file with what the agent trusts or shows cannot be used; in words (reject).
pub async fn try_all(config: &Config) -> Result<Vec<Door>, String> {
    try_join_all(config.collector.urls.iter().map(|url| try_one(config, url))).await
}

async fn try_one(config: &Config, url: &Url) -> Result<Door, String> {
    let mut config = config.clone();
    config.collector.urls = vec![url.clone()];
    config.collector.request_timeout = config.collector.request_timeout.min(PATIENCE);
    let doors = Doors::new(&config, false).map_err(|error| error.to_string())?;
    let mut door = Door { url: url.origin().ascii_serialization(), ..Door::default() };
    match doors.knock().await {
        Ok(date) => door.clock_ahead_seconds = date.and_then(|date| ahead(&date)),
        Err(error) => {
            door.silent = Some(told(error));
            return Ok(door);
        }
    }
    match doors.sources(config.agent.id.as_str(), None).await {
        Ok(_) => {}
        Err(RequestError::Refused { status: status @ (401 | 403), detail, .. }) => {
            door.refused = Some((status, detail));
            let join = config.collector.join_token_file.filter(|_| !doors.has_credential());
            door.join_token = join.map(|file| secret::read(&file).map(drop).map_err(|error| error.to_string()));
        }
        Err(error) => door.silent = Some(told(error)),
    }
    Ok(door)
}

/// Says what went wrong, without the address, which may have secrets in it, and what to do about it.
fn told(error: RequestError) -> (String, Option<String>) {
    match error {
        RequestError::Unanswered { reason, advice, .. } => (format!("does not answer: {reason}"), advice),
        RequestError::Refused { status, kind, detail, .. } => (format!("answers {status} {kind}: {detail}"), None),
        RequestError::Nonsense { reason, .. } => (format!("does not answer as a collector does: {reason}"), None),
        RequestError::Superseded { .. } | RequestError::OtherLog { .. } => {
            ("answers what was not asked".to_owned(), None)
        }
    }
}

/// Judges what came of it.
pub fn judge(tried: Result<Vec<Door>, String>) -> Vec<Finding> {
    let doors = match tried {
        Ok(doors) => doors,
        Err(reason) => {
            let todo = "do what it says; run the doctor as the agent's user: sudo -u skidway-agent skidway doctor --config FILE";
            return vec![Finding::problem("collector", reason, "the agent does not start with it", todo)];
        }
    };
    let another_answers = doors.iter().any(|door| door.silent.is_none());
    let mut findings = Vec::new();
    for door in &doors {
        if let Some(silent) = &door.silent {
            findings.push(judge_silent(&door.url, silent.clone(), another_answers));
        }
        findings.extend(judge_clock(door.clock_ahead_seconds));
        if let Some(refused) = &door.refused {
            findings.push(judge_refused(&door.url, refused, door.join_token.as_ref()));
        }
    }
    findings
}

fn judge_silent(url: &str, (what, advice): (String, Option<String>), another_answers: bool) -> Finding {
    let todo = advice.unwrap_or_else(|| {
        "systemctl status skidway-collector over there; is collector.urls right, and does a firewall or http.listen keep the agent out?".to_owned()
    });
    match another_answers {
        true => Finding::warning(url, what, "the agent has to use another of its addresses", todo),
        false => Finding::problem(url, what, "nothing is shipped; no line is lost as long as its file is there", todo),
    }
}

fn judge_refused(url: &str, (status, words): &(u16, String), join: Option<&Result<(), String>>) -> Finding {
    let why = "nothing is shipped; no line is lost as long as its file is there";
    match (join, status) {
        (Some(Ok(())), _) => Finding::note(
            url,
            "the agent has no credential yet; it enrols with its join token when it starts",
            "whether the collector takes the join token is not tried: that would use it up",
            "systemctl start skidway-agent; skidway-agent status says if it is not let in",
        ),
        (Some(Err(reason)), _) => Finding::problem(
            url,
            format!("the agent has no credential, and its join token cannot be had: {reason}"),
            why,
            "skidway tokens join makes one; put it into collector.join_token_file, where the agent's user can read it",
        ),
        (None, 401) => Finding::problem(
            url,
            format!("does not let the agent in: {words}"),
            why,
            "let it enrol anew: skidway tokens join, collector.join_token_file; or put a valid token into collector.token_file",
        ),
        (None, _) => Finding::problem(
            url,
            format!("does not let the agent in: {words}"),
            why,
            "the credential has to be of this agent.id, with the scope commit: skidway tokens list, skidway tokens create --scope commit --agent ID",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity::{self, Note, Problem, Warning};

    fn door(url: &str) -> Door {
        Door { url: url.to_owned(), clock_ahead_seconds: Some(1), ..Door::default() }
    }

    fn seen(doors: &[Door]) -> Vec<(Severity, String)> {
        judge(Ok(doors.to_vec())).into_iter().map(|it| (it.severity, it.about)).collect()
    }

    #[test]
    fn an_address_is_a_problem_if_nothing_is_shipped_and_a_warning_if_another_one_answers() {
        let silent = Door { silent: Some(("away".into(), None)), ..door("http://a") };
        assert_eq!(seen(&[door("http://a")]), []);
        assert_eq!(seen(std::slice::from_ref(&silent)), [(Problem, "http://a".to_owned())]);
        assert_eq!(seen(&[silent, door("http://b")]), [(Warning, "http://a".to_owned())]);
        let late = Door { clock_ahead_seconds: Some(-60), ..door("http://a") };
        assert_eq!(seen(&[late]), [(Warning, "clock".to_owned())]);
    }

    #[test]
    fn who_is_not_let_in_is_told_by_what_it_has() {
        let of = |status, join_token: Option<Result<(), String>>| {
            let refused = Some((status, "no".to_owned()));
            judge(Ok(vec![Door { refused, join_token, ..door("http://a") }])).remove(0)
        };
        let cases = [
            (of(401, None), Problem, "join_token_file"),
            (of(403, None), Problem, "scope commit"),
            (of(401, Some(Ok(()))), Note, "start"),
            (of(401, Some(Err("gone".into()))), Problem, "tokens join"),
        ];
        for (found, severity, words) in cases {
            assert!(found.severity == severity && found.todo.contains(words), "{found}");
        }
    }

    #[test]
    fn the_advice_that_is_known_is_what_to_do() {
        let found = judge_silent("https://a", ("does not answer".into(), Some("name the authority".into())), false);
        assert_eq!(found.todo, "name the authority");
        let unusable = judge(Err("collector.tls.ca_file /x: gone".into()));
        assert!(unusable[0].what.contains("ca_file") && unusable[0].todo.contains("sudo -u"));
    }
}
