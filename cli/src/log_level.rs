//! `skidway log-level`: which lines the collector logs, while it runs.

use std::io::Write;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use skidway_wire::http::{LOG_LEVEL_PATH, LogLevel, LogLevelRequest};

use crate::args::LevelAsked;
use crate::client::Client;
use crate::error::Error;
use crate::output::Form;

/// Shows the level, after setting it or setting it back if that is asked.
///
/// # Errors
/// What the collector refuses.
pub async fn run(client: Client, asked: LevelAsked, form: Form, out: &mut impl Write) -> Result<(), Error> {
    let LevelAsked { level, lent, reset } = asked;
    let request = match level {
        Some(level) => {
            let body = serde_json::to_vec(&LogLevelRequest { level, lent });
            let body = body.map_err(|error| Error::Failed(error.to_string()))?;
            client.request(Method::PUT, LOG_LEVEL_PATH, &[]).header(CONTENT_TYPE, "application/json").body(body)
        }
        None => client.request(if reset { Method::DELETE } else { Method::GET }, LOG_LEVEL_PATH, &[]),
    };
    let level: LogLevel = client.fetch(request).await?;
    match form.json {
        true => writeln!(out, "{}", serde_json::to_string(&level).map_err(|error| Error::Failed(error.to_string()))?)?,
        false => writeln!(out, "{level}")?,
    }
    Ok(())
}
