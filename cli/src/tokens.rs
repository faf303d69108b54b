//! `skidway tokens`: who may do what. A secret is printed when it is made, and never again.

use std::io::Write;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use skidway_daemon::human::{Align, Table};
use skidway_daemon::secret;
use skidway_wire::access::{
    BearerToken, Grant, JOIN_PATH, JoinRequest, Scope, TOKENS_PATH, TokenList, TokenMade, TokenRequest, TokenSummary,
};

use crate::args::{TokenAction, TokenJoin, TokenMake};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Form, note};

/// Does what is asked of tokens; lists them if nothing is.
///
/// # Errors
/// What the collector refuses.
pub async fn run(client: Client, action: Option<TokenAction>, form: Form, out: &mut impl Write) -> Result<(), Error> {
    match action.unwrap_or(TokenAction::List) {
        TokenAction::List => list(&client, form, out).await,
        TokenAction::Create(args) => {
            let made = make(&client, TOKENS_PATH, serde_json::to_vec(&request(args)?)).await?;
            show(&made, form, out)
        }
        TokenAction::Join(args) => {
            let made = make(&client, JOIN_PATH, serde_json::to_vec(&join_request(args))).await?;
            show(&made, form, out)
        }
        TokenAction::Revoke { id } => revoke(&client, &id, form, out).await,
        TokenAction::Generate => {
            let token = BearerToken::new(secret::random(), secret::random());
            Ok(writeln!(out, "{}", token.reveal())?)
        }
    }
}

fn request(args: TokenMake) -> Result<TokenRequest, Error> {
    let TokenMake { name, scopes, topics, agent, expires, quotas } = args;
    let needs_topics = |grant: &Grant| !matches!(grant.scope, Scope::Admin | Scope::Metrics) && grant.topics.is_empty();
    if topics.is_empty() && scopes.iter().any(needs_topics) {
        return Err(Error::Usage("for which topics? --topics 'web-*', or --topics '*' for all".to_owned()));
    }
    let with_topics = |grant: Grant| match grant.topics.is_empty() && grant.scope != Scope::Metrics {
        true => Grant { topics: topics.clone(), ..grant },
        false => grant,
    };
    let grants = scopes.into_iter().map(with_topics).collect();
    Ok(TokenRequest { name, grants, agent, expires, quotas: quotas.into() })
}

fn join_request(args: TokenJoin) -> JoinRequest {
    let TokenJoin { name, uses, expires, agents, topics, quotas } = args;
    let topics = Some(topics).filter(|topics| !topics.is_empty());
    JoinRequest { name, uses, expires, agents, topics, quotas: quotas.into() }
}

async fn make(client: &Client, path: &str, body: serde_json::Result<Vec<u8>>) -> Result<TokenMade, Error> {
    let body = body.map_err(|error| Error::Failed(error.to_string()))?;
    let request = client.request(Method::POST, path, &[]).header(CONTENT_TYPE, "application/json").body(body);
    client.fetch(request).await
}

/// Prints the token alone, so that it can go into a file as it is.
fn show(made: &TokenMade, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        let text = serde_json::to_string(made).map_err(|error| Error::Failed(error.to_string()))?;
        return Ok(writeln!(out, "{text}")?);
    }
    let summary = &made.summary;
    let until = summary.expires.as_deref().map_or_else(|| "for ever".to_owned(), |at| format!("until {at}"));
    note(format_args!("token {} ({}), valid {until}: keep it now, it is not shown again", summary.id, summary.name));
    Ok(writeln!(out, "{}", made.token)?)
}

async fn list(client: &Client, form: Form, out: &mut impl Write) -> Result<(), Error> {
    if form.json {
        let body: Value = client.get(TOKENS_PATH).await?;
        return Ok(writeln!(out, "{body}")?);
    }
    let list: TokenList = client.get(TOKENS_PATH).await?;
    Ok(write!(out, "{}", table(&list.tokens))?)
}

fn table(tokens: &[TokenSummary]) -> Table {
    let columns = [
        ("TOKEN", Align::Left),
        ("NAME", Align::Left),
        ("KIND", Align::Left),
        ("EXPIRES", Align::Left),
        ("AGENT", Align::Left),
        ("MAY", Align::Left),
    ];
    let mut table = Table::new(columns);
    for token in tokens {
        let may = |grant: &Grant| match grant.topics.is_empty() {
            true => grant.scope.name().to_owned(),
            false => format!("{}={}", grant.scope.name(), grant.topics.join(",")),
        };
        let uses = token.uses_left.map_or_else(String::new, |uses| format!(" ({uses} left)"));
        table.row([
            token.id.clone(),
            token.name.clone(),
            format!("{}{uses}", token.kind),
            token.expires.clone().unwrap_or_else(|| "never".to_owned()),
            token.agent.clone().unwrap_or_else(|| "-".to_owned()),
            token.grants.iter().map(may).collect::<Vec<_>>().join(" "),
        ]);
    }
    table
}

async fn revoke(client: &Client, id: &str, form: Form, out: &mut impl Write) -> Result<(), Error> {
    // Who has the token at hand may paste it whole: its secret goes nowhere.
    let id = id.parse::<BearerToken>().map_or_else(|_| id.to_owned(), |token| token.id.to_string());
    if id.contains(['/', '?', '#', '%']) {
        return Err(Error::Usage("a token is named by its public part, 16 hex digits".to_owned()));
    }
    let request = client.request(Method::DELETE, &format!("{TOKENS_PATH}/{id}"), &[]);
    let revoked: TokenSummary = client.fetch(request).await?;
    if form.json {
        let text = serde_json::to_string(&revoked).map_err(|error| Error::Failed(error.to_string()))?;
        return Ok(writeln!(out, "{text}")?);
    }
    Ok(writeln!(out, "revoked token {} ({})", revoked.id, revoked.name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::TokenQuotas;

    fn args(scopes: &[(Scope, &[&str])], topics: &[&str]) -> TokenMake {
        let grant = |(scope, topics): &(Scope, &[&str])| Grant {
            scope: *scope,
            topics: topics.iter().map(|it| (*it).to_owned()).collect(),
        };
        TokenMake {
            name: "ci".into(),
            scopes: scopes.iter().map(grant).collect(),
            topics: topics.iter().map(|it| (*it).to_owned()).collect(),
            agent: None,
            expires: None,
            quotas: TokenQuotas::default(),
        }
    }

    #[test]
    fn scopes_without_topics_of_their_own_get_those_of_the_token() {
        let asked =
            request(args(&[(Scope::Consume, &[]), (Scope::Produce, &["out"]), (Scope::Metrics, &[])], &["web-*"]));
        let topics: Vec<_> = asked.unwrap().grants.into_iter().map(|grant| grant.topics.join(",")).collect();
        assert_eq!(topics, ["web-*", "out", ""]);
        assert!(matches!(request(args(&[(Scope::Consume, &[])], &[])), Err(Error::Usage(_))));
    }
}
