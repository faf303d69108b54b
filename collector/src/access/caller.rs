//! Who asks, and what that allows. Every handler gets one, and asks it about what only the request's body names.

use std::sync::Arc;

use skidway_record::{AgentId, TopicName};
use skidway_wire::access::{AuditWho, Grant, Scope};
use tokio_util::sync::CancellationToken;

use crate::access::error::Denied;
use crate::access::grants::{ALL, Grants};
use crate::access::registry::Held;
use crate::access::token::Kind;

/// Is somebody who asks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    who: Who,
    /// Where the request came from.
    peer: Option<String>,
}

#[derive(Debug, Clone)]
enum Who {
    /// Nobody is asked who they are.
    Everyone,
    /// Who they are was not asked, or could not be told.
    Nobody,
    /// The holder of a token.
    Holder(Arc<Held>),
    /// The holder of a certificate that the port verified: the agent of that name.
    Certified(Arc<str>, Arc<Grants>),
}

impl Caller {
    /// Is whoever asks a collector that asks nobody: may do everything.
    pub fn everyone() -> Self {
        Self { who: Who::Everyone, peer: None }
    }

    /// Is somebody who is not known: may do nothing.
    pub fn nobody(peer: Option<String>) -> Self {
        Self { who: Who::Nobody, peer }
    }

    /// Is the holder of a token.
    pub fn holder(held: Arc<Held>, peer: Option<String>) -> Self {
        Self { who: Who::Holder(held), peer }
    }

    /// Is the agent named by a verified certificate, which may ship to every topic.
    pub fn certified(name: Arc<str>, peer: Option<String>) -> Self {
        let ships = Grants::new(vec![Grant { scope: Scope::Commit, topics: vec![ALL.to_owned()] }]);
        Self { who: Who::Certified(name, Arc::new(ships)), peer }
    }

    /// Tells whether nobody was asked who they are.
    pub fn is_everyone(&self) -> bool {
        matches!(self.who, Who::Everyone)
    }

    /// Gives the token that was shown, if one was.
    pub fn held(&self) -> Option<&Arc<Held>> {
        match &self.who {
            Who::Holder(held) => Some(held),
            _ => None,
        }
    }

    /// Tells whether everything is allowed.
    pub fn is_administrator(&self) -> bool {
        self.is_everyone() || self.grants().is_some_and(Grants::is_everything)
    }

    /// Makes sure that everything is allowed.
    ///
    /// # Errors
    /// [`Denied::Scope`].
    pub fn administers(&self) -> Result<(), Denied> {
        if self.is_administrator() { Ok(()) } else { Err(self.lacks(Scope::Admin, "")) }
    }

    /// Makes sure that metrics may be read: by whom they are meant for, and by administrators.
    ///
    /// # Errors
    /// [`Denied::Scope`].
    pub fn may_watch(&self) -> Result<(), Denied> {
        let has = |grants: &Grants| grants.has(Scope::Metrics) || grants.has(Scope::Admin);
        if self.is_everyone() || self.grants().is_some_and(has) { Ok(()) } else { Err(self.lacks(Scope::Metrics, "")) }
    }

    /// Makes sure that something may be done with a topic, group or queue, or with all that a pattern can match.
    ///
    /// # Errors
    /// [`Denied::Scope`].
    pub fn may(&self, scope: Scope, pattern: &str) -> Result<(), Denied> {
        let has = |grants: &Grants| grants.allow_all(scope, pattern);
        if self.is_everyone() || self.grants().is_some_and(has) { Ok(()) } else { Err(self.lacks(scope, pattern)) }
    }

    /// Tells whether anything may be done with a topic, so that it may be seen.
    pub fn sees(&self, topic: &TopicName) -> bool {
        self.is_everyone() || self.grants().is_some_and(|grants| grants.sees(topic))
    }

    /// Makes sure that it is this agent.
    ///
    /// # Errors
    /// [`Denied::Scope`] if it may not ship at all, [`Denied::OtherAgent`].
    pub fn is_agent(&self, agent: &AgentId) -> Result<(), Denied> {
        if self.is_everyone() {
            return Ok(());
        }
        self.ships()?;
        match self.agent() {
            Some(own) if own == agent.as_str() => Ok(()),
            own => Err(Denied::OtherAgent {
                asked: agent.to_string(),
                own: own.map_or_else(|| "no agent".to_owned(), str::to_owned),
            }),
        }
    }

    /// Makes sure that it ships for some agent.
    ///
    /// # Errors
    /// [`Denied::Scope`].
    pub fn ships(&self) -> Result<(), Denied> {
        let has = |grants: &Grants| grants.has(Scope::Commit);
        if self.is_everyone() || self.grants().is_some_and(has) { Ok(()) } else { Err(self.lacks(Scope::Commit, "")) }
    }

    /// Gives the agent that it is, if it is one.
    pub fn agent(&self) -> Option<&str> {
        match &self.who {
            Who::Holder(held) if held.token.kind != Kind::Join => held.token.agent.as_deref(),
            Who::Certified(name, _) => Some(name),
            _ => None,
        }
    }

    /// Says how long what it began may go on.
    pub fn leave(&self) -> Leave {
        Leave(self.held().map(|held| held.ended.clone()))
    }

    /// Says who it is, for the audit topic.
    pub fn who(&self) -> AuditWho {
        let peer = self.peer.clone();
        match &self.who {
            Who::Everyone | Who::Nobody => AuditWho { peer, ..AuditWho::default() },
            Who::Holder(held) => AuditWho {
                token: Some(held.id.to_string()),
                name: Some(held.token.name.clone()),
                peer,
                ..AuditWho::default()
            },
            Who::Certified(name, _) => AuditWho { certificate: Some(name.to_string()), peer, ..AuditWho::default() },
        }
    }

    fn grants(&self) -> Option<&Grants> {
        match &self.who {
            Who::Everyone | Who::Nobody => None,
            // What a join token holds is for the agents that enrol with it.
            Who::Holder(held) => Some(&held.grants).filter(|_| held.token.kind != Kind::Join),
            Who::Certified(_, grants) => Some(grants),
        }
    }

    fn lacks(&self, scope: Scope, object: &str) -> Denied {
        let has = self.grants().map(Grants::words).filter(|words| !words.is_empty());
        Denied::Scope { scope, object: object.to_owned(), has: has.unwrap_or_else(|| "nothing".to_owned()) }
    }
}

/// Says how long somebody who was let in may stay. Cheap to clone; by default for ever.
#[derive(Debug, Clone, Default)]
pub struct Leave(Option<CancellationToken>);

impl Leave {
    /// Tells whether it is over: the token was revoked, or its time is over.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until it is over.
    pub async fn over(&self) {
        match &self.0 {
            Some(ended) => ended.cancelled().await,
            None => std::future::pending().await,
        }
    }
}
