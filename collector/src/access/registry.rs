//! Holds all tokens there are: finds who shows one, makes, revokes and ends them, enrols agents.
//!
//! What is answered is in the topic `__skidway.tokens` already. One change at a time; looking a token up never waits for one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skidway_daemon::secret;
use skidway_record::TopicPartition;
use skidway_wire::access::{BearerToken, TokenId, TokenSummary};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::access::administrator;
use crate::access::audit::{Asked, Audit};
use crate::access::config::{AccessConfig, Mode};
use crate::access::error::{AccessError, NotIdentified, OpenError};
use crate::access::grants::Grants;
use crate::access::quota::Meter;
use crate::access::token::{self, Kind, Token};
use crate::clock::now_ms;
use crate::log::{Commit, Log, StateTopic};

/// Names the topic of tokens, our own.
pub const TOKENS_TOPIC: &str = "__skidway.tokens";

/// Bounds the tokens, agents' own and those that are over included.
pub const TOKENS_MAX: usize = 20_000;

/// How long a token that is over is still listed.
const KEPT_MS: i64 = 7 * 86_400_000;

/// How often tokens are ended, refusals written and topics measured.
const UPKEEP: Duration = Duration::from_secs(1);

/// Bounds the work that waits to be begun.
const WORK_MAX: usize = 64;

/// Is a token that is kept.
#[derive(Debug)]
pub struct Held {
    /// Its public part.
    pub id: TokenId,
    /// What is known of it.
    pub token: Token,
    /// What it is good for.
    pub grants: Grants,
    /// Cancelled when it is revoked or its time is over.
    pub ended: CancellationToken,
    meter: Mutex<Meter>,
}

impl Held {
    fn new(id: TokenId, token: Token) -> Arc<Self> {
        let (grants, meter) = (Grants::new(token.grants.clone()), Meter::new(token.quotas, Instant::now()));
        Arc::new(Self { id, token, grants, ended: CancellationToken::new(), meter: Mutex::new(meter) })
    }

    /// Tells whether its holder may make tokens.
    fn administers(&self, now_ms: i64) -> bool {
        self.token.kind != Kind::Join && self.grants.is_everything() && !self.token.is_over(now_ms)
    }

    /// Gives what counts its holder's use.
    pub fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is something that has to be finished, whoever waits for it.
pub type Work = BoxFuture<'static, ()>;

/// Holds who may do what.
pub struct Access {
    mode: Mode,
    log: Arc<dyn Log>,
    state: StateTopic,
    /// What is written down.
    pub audit: Audit,
    held: RwLock<HashMap<TokenId, Arc<Held>>>,
    /// Held while the tokens change, the write included.
    order: tokio::sync::Mutex<()>,
    work: mpsc::Sender<Work>,
    waiting: Mutex<Option<mpsc::Receiver<Work>>>,
}

impl Access {
    /// Reads the tokens there are.
    ///
    /// # Errors
    /// [`OpenError`] (halt).
    pub async fn open(log: Arc<dyn Log>, config: &AccessConfig) -> Result<Self, OpenError> {
        let state = StateTopic::open(log.clone(), TOKENS_TOPIC).await?;
        let mut held = HashMap::new();
        for (key, value) in state.entries() {
            let entry = |reason: String| state.not_understood(&key, reason);
            let id = token::id_of(&key).ok_or_else(|| entry("it is of another version".to_owned()))?;
            held.insert(id, Held::new(id, Token::decode(&value).map_err(entry)?));
        }
        if config.mode == Mode::Tokens {
            if let Some(path) = &config.admin_token_file {
                let (id, token) = administrator::read(path)?;
                held.insert(id, Held::new(id, token));
            }
            if !held.values().any(|it| it.administers(now_ms())) {
                return Err(OpenError::NoAdministrator);
            }
        }
        let audit = Audit::new(log.clone()).map_err(crate::log::StateError::from)?;
        let (held, order) = (RwLock::new(held), tokio::sync::Mutex::new(()));
        let (work, waiting) = mpsc::channel(WORK_MAX);
        let waiting = Mutex::new(Some(waiting));
        let access = Self { mode: config.mode, log, state, audit, held, order, work, waiting };
        access.end_and_measure(now_ms());
        Ok(access)
    }

    /// Tells whether nobody is asked who they are.
    pub fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    /// Counts a refusal, to be written down, where anybody is asked who they are.
    pub fn refused(&self, asked: Asked) {
        if !self.is_open() {
            self.audit.refused(asked);
        }
    }

    /// Finds the token whose text is shown. Whether there is none of its id or its secret is another costs the same.
    ///
    /// # Errors
    /// [`NotIdentified`].
    pub fn find(&self, text: &str, now_ms: i64) -> Result<Arc<Held>, NotIdentified> {
        let shown: BearerToken = text.parse().map_err(|_| NotIdentified::Malformed)?;
        let hash = secret::sha256(shown.secret());
        let held = self.get(shown.id);
        let expected = held.as_ref().map_or([0; 32], |held| held.token.sha256);
        let is_it = bool::from(hash.ct_eq(&expected));
        match held.filter(|_| is_it) {
            Some(held) if held.token.is_over(now_ms) => Err(NotIdentified::Expired),
            Some(held) if held.ended.is_cancelled() => Err(NotIdentified::Unknown),
            Some(held) => Ok(held),
            None => Err(NotIdentified::Unknown),
        }
    }

    /// Lists all tokens, by name.
    pub fn list(&self) -> Vec<TokenSummary> {
        let mut list: Vec<_> = self.all().iter().map(|held| held.token.summary(held.id)).collect();
        list.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        list
    }

    /// Makes a token; the secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`AccessError::Open`], [`AccessError::TooMany`], [`AccessError::Log`].
    pub async fn make(&self, make: impl FnOnce([u8; 32]) -> Token) -> Result<(BearerToken, TokenSummary), AccessError> {
        self.refuse_open()?;
        let _in_order = self.order.lock().await;
        self.refuse_too_many()?;
        let made = BearerToken::new(secret::random(), secret::random());
        let token = make(secret::sha256(made.secret()));
        let summary = token.summary(made.id);
        self.keep(vec![(made.id, token)]).await?;
        Ok((made, summary))
    }

    /// Ends a token: it is not known any more, and what its holder has open ends.
    ///
    /// # Errors
    /// [`AccessError::UnknownToken`], [`AccessError::OfFile`], [`AccessError::Log`].
    pub async fn revoke(&self, id: &str) -> Result<TokenSummary, AccessError> {
        self.refuse_open()?;
        let unknown = || AccessError::UnknownToken(id.chars().take(64).collect());
        let id: TokenId = id.parse().map_err(|_| unknown())?;
        let _in_order = self.order.lock().await;
        let held = self.get(id).ok_or_else(unknown)?;
        if held.token.kind == Kind::File {
            return Err(AccessError::OfFile(id));
        }
        self.state.write(vec![(token::key(id), None)], Commit::default()).await?;
        self.locked().remove(&id);
        held.ended.cancel();
        Ok(held.token.summary(id))
    }

    /// Reads the file of the administrator's token again: whoever shows the old one is not let in any more, and what it has open ends. A file that
    /// cannot be used changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] (halt; or, while the collector runs, the old token stays).
    pub async fn exchange_administrator(&self, path: Option<&Path>) -> Result<(), OpenError> {
        if self.is_open() {
            return Ok(());
        }
        let read = path.map(administrator::read).transpose()?;
        let _in_order = self.order.lock().await;
        let all = self.all();
        let old = all.iter().find(|held| held.token.kind == Kind::File);
        if old.map(|held| (held.id, held.token.sha256)) == read.as_ref().map(|(id, token)| (*id, token.sha256)) {
            return Ok(());
        }
        let is_other = |held: &&Arc<Held>| held.token.kind != Kind::File;
        if read.is_none() && !all.iter().filter(is_other).any(|held| held.administers(now_ms())) {
            return Err(OpenError::NoAdministrator);
        }
        if let Some((id, _)) = &read
            && all.iter().filter(is_other).any(|held| held.id == *id)
        {
            return Err(OpenError::Taken(*id));
        }
        let new = read.map(|(id, token)| Held::new(id, token));
        tracing::info!(old = ?old.map(|held| held.id), new = ?new.as_ref().map(|held| held.id), "the token of access.admin_token_file is another one");
        let mut held = self.locked();
        if let Some(old) = old {
            held.remove(&old.id);
            old.ended.cancel();
        }
        held.extend(new.map(|new| (new.id, new)));
        Ok(())
    }

    /// Gives an agent its credential, which it made itself: `id` and the hash of its secret. Asked again with the same one, it answers the same
    /// and takes no further use of the join token.
    ///
    /// # Errors
    /// [`AccessError::UsedUp`], [`AccessError::AgentEnrolled`], [`AccessError::Invalid`], [`AccessError::TooMany`], [`AccessError::Log`].
    pub async fn enrol(&self, join: &Held, agent: &str, (id, sha256): (TokenId, [u8; 32])) -> Result<(), AccessError> {
        self.refuse_open()?;
        let _in_order = self.order.lock().await;
        // Others may have used it since it was shown.
        let join = self.get(join.id).ok_or(AccessError::UsedUp)?;
        if let Some(known) = self.get(id) {
            let same = known.token.kind == Kind::Agent && bool::from(known.token.sha256.ct_eq(&sha256));
            return match same && known.token.agent.as_deref() == Some(agent) {
                true => Ok(()),
                false => Err(invalid("id", "another token has this id; make a new credential")),
            };
        }
        let now_ms = now_ms();
        let enrolled = |held: &&Arc<Held>| held.token.kind == Kind::Agent && held.token.agent.as_deref() == Some(agent);
        if let Some(other) = self.all().iter().find(enrolled) {
            return Err(AccessError::AgentEnrolled { agent: agent.to_owned(), id: other.id });
        }
        let uses_left = join.token.uses_left.unwrap_or(0).checked_sub(1).ok_or(AccessError::UsedUp)?;
        self.refuse_too_many()?;
        let credential = Token {
            name: agent.to_owned(),
            kind: Kind::Agent,
            sha256,
            grants: join.token.grants.clone(),
            agent: Some(agent.to_owned()),
            created_ms: now_ms,
            expires_ms: None,
            uses_left: None,
            joined_by: Some(join.id.to_string()),
            quotas: join.token.quotas,
        };
        let used = Token { uses_left: Some(uses_left), ..join.token.clone() };
        self.keep(vec![(id, credential), (join.id, used)]).await
    }

    /// Has something finished, even if nobody waits for it any more.
    pub async fn finish(&self, work: Work) {
        // It is dropped, which who waits for its outcome sees, when the collector has stopped.
        let _has_stopped = self.work.send(work).await;
    }

    /// Finishes what has to be, ends tokens in time, forgets old ones, writes refusals down and measures topics, until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        if self.is_open() {
            return;
        }
        let mut ticks = interval(UPKEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut waiting = waiting.expect("it is run once");
        let mut under_way = FuturesUnordered::new();
        let upkeep = async {
            loop {
                ticks.tick().await;
                self.upkeep(now_ms()).await;
            }
        };
        let mut upkeep = std::pin::pin!(upkeep);
        loop {
            tokio::select! {
                biased; // All requests were answered before this is stopped.
                () = stop.cancelled() => break,
                Some(work) = waiting.recv() => under_way.push(work),
                Some(()) = under_way.next() => {}
                () = &mut upkeep => {}
            }
        }
        while under_way.next().await.is_some() {}
        self.audit.flush(now_ms()).await;
    }

    async fn upkeep(&self, now_ms: i64) {
        let old = self.end_and_measure(now_ms);
        if !old.is_empty() {
            let _in_order = self.order.lock().await;
            let changes = old.iter().map(|id| (token::key(*id), None)).collect();
            match self.state.write(changes, Commit::default()).await {
                Ok(_) => old.iter().for_each(|id| _ = self.locked().remove(id)),
                Err(error) => tracing::warn!(%error, "tokens that are over are not forgotten now"),
            }
        }
        self.audit.flush(now_ms).await;
    }

    /// Ends what is over, measures what is bounded; gives the tokens to forget.
    fn end_and_measure(&self, now_ms: i64) -> Vec<TokenId> {
        let mut old = Vec::new();
        for held in self.all() {
            if held.token.is_over(now_ms) {
                held.ended.cancel();
                old.extend(held.token.expires_ms.filter(|at| now_ms - at > KEPT_MS).map(|_| held.id));
            } else if held.meter().wants_measure() {
                let (bytes, topics) = self.measure(&held.grants);
                held.meter().measured(bytes, topics);
            }
        }
        old
    }

    /// Gives the bytes on disk and the number of the topics that grants allow to write to.
    fn measure(&self, grants: &Grants) -> (u64, u64) {
        let (mut bytes, mut topics) = (0, 0);
        for topic in self.log.topics().into_iter().filter(|topic| grants.counts(&topic.name)) {
            topics += 1;
            for partition in 0..topic.config.partitions {
                let of = TopicPartition::new(topic.name.clone(), partition);
                bytes += self.log.offsets(&of).map_or(0, |offsets| offsets.bytes);
            }
        }
        (bytes, topics)
    }

    /// Measures again before a topic is added: what was measured last may be a second old.
    pub fn measure_now(&self, held: &Held) {
        let (bytes, topics) = self.measure(&held.grants);
        held.meter().measured(bytes, topics);
    }

    async fn keep(&self, tokens: Vec<(TokenId, Token)>) -> Result<(), AccessError> {
        let changes = tokens.iter().map(|(id, token)| (token::key(*id), Some(token.encode()))).collect();
        self.state.write(changes, Commit::default()).await?;
        for (id, token) in tokens {
            let held = Held::new(id, token);
            if held.meter().wants_measure() {
                self.measure_now(&held);
            }
            self.locked().insert(id, held);
        }
        Ok(())
    }

    fn refuse_open(&self) -> Result<(), AccessError> {
        if self.is_open() { Err(AccessError::Open) } else { Ok(()) }
    }

    fn refuse_too_many(&self) -> Result<(), AccessError> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).len();
        if held < TOKENS_MAX { Ok(()) } else { Err(AccessError::TooMany { max: TOKENS_MAX }) }
    }

    fn get(&self, id: TokenId) -> Option<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn all(&self) -> Vec<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn locked(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<TokenId, Arc<Held>>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a member of a request is wrong.
pub fn invalid(member: &'static str, reason: impl Into<String>) -> AccessError {
    AccessError::Invalid { member, reason: reason.into() }
}
