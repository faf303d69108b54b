//! Who the agent is to the collector: a token from a file, or a credential of its own that it made, keeps in its state folder and had enrolled.
//!
//! `state_dir/credential`, mode 0600:
//!
//! ```text
//! the token, a line | `joining`, a line, as long as the collector has not been seen to know it
//! ```
//!
//! It is on disk before the collector hears of it, and the same one is offered until it is known to be enrolled: an answer that is lost leaves
//! nothing half done. The collector is told the hash of the secret; the secret itself is seen by it in requests alone. Nothing here is logged.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::HeaderValue;
use skidway_daemon::secret;
use skidway_wire::access::{BearerToken, EnrolRequest};

use crate::config::Config;
use crate::error::AgentError;

use super::connections::unusable;

/// Names the file in the state folder.
const FILE: &str = "credential";

/// Says that the collector is not known to know the credential.
const JOINING: &str = "joining";

/// Holds what the agent shows.
#[derive(Debug)]
pub(super) struct Credential {
    token_file: Option<PathBuf>,
    join_token_file: Option<PathBuf>,
    own_file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shown: Option<HeaderValue>,
    own: Option<Own>,
    /// Why the collector does not let the agent in.
    refused: Option<String>,
}

/// Is the agent's own token.
#[derive(Debug, Clone)]
struct Own {
    token: BearerToken,
    is_joining: bool,
}

impl Credential {
    /// Reads what there is. An agent that has its own credential needs no join token any more.
    ///
    /// # Errors
    /// A file cannot be used (halt).
    pub(super) fn open(config: &Config) -> Result<Self, AgentError> {
        let collector = &config.collector;
        let (token_file, join_token_file) = (collector.token_file.clone(), collector.join_token_file.clone());
        for (key, file) in [("collector.token_file", &token_file), ("collector.join_token_file", &join_token_file)] {
            if let Some(file) = file {
                secret::warn_if_exposed(key, file);
            }
        }
        let own_file = config.agent.state_dir.join(FILE);
        let credential = Self { token_file, join_token_file, own_file, state: Mutex::default() };
        credential.read_token()?;
        if credential.token_file.is_none() {
            let own = read_own(&credential.own_file)?;
            let mut state = credential.state();
            state.shown = own.as_ref().map(|own| bearer(&own.token.reveal()));
            state.own = own;
        }
        Ok(credential)
    }

    /// Gives what to show, if there is anything.
    pub(super) fn shown(&self) -> Option<HeaderValue> {
        self.state().shown.clone()
    }

    /// Reads the token's file again, if there is one.
    ///
    /// # Errors
    /// It cannot be used (halt; or, while the agent runs, the old one is kept).
    pub(super) fn read_token(&self) -> Result<(), AgentError> {
        let Some(path) = &self.token_file else { return Ok(()) };
        let token = secret::read(path).map_err(|error| unusable("collector.token_file", path, error))?;
        let token = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
        let mut token = token.map_err(|_| unusable("collector.token_file", path, "it holds no token"))?;
        token.set_sensitive(true);
        self.state().shown = Some(token);
        Ok(())
    }

    /// Gives the join token to show, and what the collector is to know of the credential, which is on disk by then. One that was known before and is
    /// refused now was revoked: another is made. `None` if there is no join token.
    ///
    /// # Errors
    /// The credential cannot be kept.
    pub(super) fn to_enrol(&self) -> Result<Option<(HeaderValue, EnrolRequest)>, AgentError> {
        let Some(path) = self.join_token_file.as_ref().filter(|_| self.token_file.is_none()) else { return Ok(None) };
        let join = match secret::read(path) {
            Ok(join) => join,
            // It may be gone once it was used.
            Err(error) => {
                tracing::debug!(%error, "there is no join token");
                return Ok(None);
            }
        };
        let known = self.state().own.clone().filter(|own| own.is_joining);
        let own = match known {
            Some(own) => own,
            None => {
                let own = Own { token: BearerToken::new(secret::random(), secret::random()), is_joining: true };
                self.keep(&own)?;
                own
            }
        };
        let sha256 = secret::sha256(own.token.secret()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some((bearer(join.reveal()), EnrolRequest { id: own.token.id.to_string(), sha256 })))
    }

    /// Notes that the collector lets the agent in. A credential that was being enrolled is enrolled, then.
    pub(super) fn is_let_in(&self) {
        let (own, refused) = {
            let mut state = self.state();
            (state.own.clone().filter(|own| own.is_joining), state.refused.take())
        };
        if refused.is_some() {
            tracing::info!("the collector lets the agent in again");
        }
        if let Some(own) = own.filter(|own| self.shown() == Some(bearer(&own.token.reveal())))
            && let Err(error) = self.keep(&Own { is_joining: false, ..own })
        {
            // It is tried again with the next answer.
            tracing::warn!(%error, "cannot note that the credential is enrolled");
        }
    }

    /// Notes that the collector does not let the agent in, and says so once.
    pub(super) fn is_refused(&self, why: &str) {
        let mut state = self.state();
        if state.refused.as_deref() != Some(why) {
            tracing::error!(
                "the collector does not let this agent in: {why}. Its lines stay where they are and nothing is lost; it tries again. \
                 If its credential was revoked, a new join token in collector.join_token_file lets it enrol again"
            );
            state.refused = Some(why.to_owned());
        }
    }

    /// Says why the collector does not let the agent in, if it does not.
    pub(super) fn refused(&self) -> Option<String> {
        self.state().refused.clone()
    }

    fn keep(&self, own: &Own) -> Result<(), AgentError> {
        let text = own.token.reveal();
        let file = format!("{text}\n{}", if own.is_joining { format!("{JOINING}\n") } else { String::new() });
        write_private(&self.own_file, file.as_bytes()).map_err(|error| unusable(FILE, &self.own_file, error))?;
        let mut state = self.state();
        (state.shown, state.own) = (Some(bearer(&text)), Some(own.clone()));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bearer(token: &str) -> HeaderValue {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

fn read_own(path: &Path) -> Result<Option<Own>, AgentError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(FILE, path, error)),
    };
    let mut lines = text.lines();
    match lines.next().map(str::parse) {
        Some(Ok(token)) => Ok(Some(Own { token, is_joining: lines.next() == Some(JOINING) })),
        _ => Err(unusable(FILE, path, "it holds no token; remove it, and the agent enrols anew with a join token")),
    }
}

/// Replaces a file that nobody else may read, at no time.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // What is replaced with is written to a file that is there already, with its mode.
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    skidway_disk::replace(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config(folder: &Path) -> Config {
        let mut config = Config::default();
        config.agent.state_dir = folder.to_owned();
        config.collector.join_token_file = Some(folder.join("join"));
        config
    }

    #[test]
    fn the_same_credential_is_offered_until_the_collector_knows_it_and_another_after_it_was_revoked() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("join"), "sk1_join\n").unwrap();
        let offer = |credential: &Credential| credential.to_enrol().unwrap().unwrap().1;
        let credential = Credential::open(&config(temp.path())).unwrap();
        assert_eq!(credential.shown(), None);
        let first = offer(&credential);
        // The answer was lost, and so is the process.
        let credential = Credential::open(&config(temp.path())).unwrap();
        assert!(credential.shown().is_some());
        assert_eq!(offer(&credential), first);
        credential.is_let_in();
        let mode = std::fs::metadata(temp.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let credential = Credential::open(&config(temp.path())).unwrap();
        assert_ne!(offer(&credential), first);
    }

    #[test]
    fn a_join_token_may_be_gone_and_a_broken_credential_is_told_without_what_is_in_it() {
        let temp = tempfile::tempdir().unwrap();
        let credential = Credential::open(&config(temp.path())).unwrap();
        assert!(credential.to_enrol().unwrap().is_none());
        std::fs::write(temp.path().join(FILE), "hidden").unwrap();
        let error = Credential::open(&config(temp.path())).unwrap_err().to_string();
        assert!(error.contains("holds no token") && !error.contains("hidden"), "{error}");
    }
}
