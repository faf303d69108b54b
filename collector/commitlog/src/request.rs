//! What waits in the queue, and what it is answered with.

use skidway_record::source::{NewSource, Partitioning, StoredSource};
use skidway_record::{AgentId, SourceId};

use crate::commit::{AgentState, Commit, Committed, OpenSession, Session, SourceChange, TopicChange};
use crate::config::TopicDefaults;
use crate::error::Error;
use crate::log::TopicAltered;

/// What a commit costs beside its bytes: frame header, effects, index entries.
const COMMIT_OVERHEAD_BYTES: usize = 2048;

/// What a batch costs beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 384;

/// What a commit usually costs beside its batches.
const USUAL_OVERHEAD_BYTES: usize = 256;

/// Is called with the answer, once.
pub(crate) type Done<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// Asks the sequencer for something.
pub(crate) enum Request {
    Commit(Box<Commit>, Done<Committed>),
    Session { open: OpenSession, follows: u64, done: Done<Session> },
    Topic(TopicChange, Done<TopicAltered>),
    Defaults(TopicDefaults, Done<()>),
    Sources { agent: AgentId, after: Option<SourceId>, limit: usize, done: Done<Vec<StoredSource>> },
    Agents(Done<Vec<AgentState>>),
}

/// Holds an answer until what it tells is durable.
pub(crate) enum Answer {
    Commit(Result<Committed, Error>, Done<Committed>),
    Session(Result<Session, Error>, Done<Session>),
    Topic(Result<TopicAltered, Error>, Done<TopicAltered>),
    Defaults(Done<()>),
    Sources(Vec<StoredSource>, Done<Vec<StoredSource>>),
    Agents(Vec<AgentState>, Done<Vec<AgentState>>),
}

impl Request {
    /// Bounds the bytes its frame may take.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Commit(commit, _) => commit_bytes(commit),
            // A reload may concern every topic; its frame is bounded by what the journal is asked for then.
            Self::Session { .. } | Self::Topic(..) | Self::Defaults(..) => COMMIT_OVERHEAD_BYTES,
            Self::Sources { .. } | Self::Agents(_) => 0,
        }
    }

    /// Tells how many bytes its frame is likely to take: the buffer of a group stays in memory while any of its batches does.
    pub(crate) fn usual_bytes(&self) -> usize {
        match self {
            Self::Commit(commit, _) => USUAL_OVERHEAD_BYTES + batch_bytes(commit),
            _ => 0,
        }
    }

    /// Tells whether it adds to what is kept, and is therefore refused when the disk is full.
    pub(crate) fn grows(&self) -> bool {
        match self {
            Self::Commit(..) => true,
            Self::Topic(change, _) => !matches!(change, TopicChange::Delete(_) | TopicChange::DeleteRecords { .. }),
            Self::Session { .. } | Self::Defaults(..) | Self::Sources { .. } | Self::Agents(_) => false,
        }
    }

    /// Answers with an error.
    pub(crate) fn fail(self, error: &Error) {
        let error = error.clone();
        match self {
            Self::Commit(_, done) => done(Err(error)),
            Self::Session { done, .. } => done(Err(error)),
            Self::Topic(_, done) => done(Err(error)),
            Self::Defaults(.., done) => done(Err(error)),
            Self::Sources { done, .. } => done(Err(error)),
            Self::Agents(done) => done(Err(error)),
        }
    }
}

impl Answer {
    /// Gives the answer.
    pub(crate) fn give(self) {
        match self {
            Self::Commit(result, done) => done(result),
            Self::Session(result, done) => done(result),
            Self::Topic(result, done) => done(result),
            Self::Defaults(done) => done(Ok(())),
            Self::Sources(sources, done) => done(Ok(sources)),
            Self::Agents(agents, done) => done(Ok(agents)),
        }
    }

    /// Gives an error instead.
    pub(crate) fn fail(self, error: &Error) {
        let error = error.clone();
        match self {
            Self::Commit(_, done) => done(Err(error)),
            Self::Session(_, done) => done(Err(error)),
            Self::Topic(_, done) => done(Err(error)),
            Self::Defaults(done) => done(Err(error)),
            Self::Sources(_, done) => done(Err(error)),
            Self::Agents(_, done) => done(Err(error)),
        }
    }
}

/// Bounds the bytes of a commit's frame.
fn commit_bytes(commit: &Commit) -> usize {
    let batches = batch_bytes(commit) + commit.batches.len() * BATCH_OVERHEAD_BYTES;
    let source = match &commit.source {
        Some(SourceChange::Advance(advance)) => {
            advance.carry.len() + advance.path.as_ref().map_or(0, |path| path.len())
        }
        Some(SourceChange::Create(source)) => source.path.len() + source.input.len() + partitioning_bytes(source),
        Some(SourceChange::Rebind { path, .. }) => path.len(),
        Some(SourceChange::HandOver(_)) => 0,
        Some(SourceChange::Gone { .. }) | None => 0,
    };
    let input = commit.opened_input.as_ref().map_or(0, String::len);
    COMMIT_OVERHEAD_BYTES + batches + source + input
}

fn batch_bytes(commit: &Commit) -> usize {
    commit.batches.iter().map(|(_, batch)| batch.bytes().len()).sum()
}

fn partitioning_bytes(source: &NewSource) -> usize {
    match &source.partitioning {
        Partitioning::Key(key) => key.len(),
        _ => 0,
    }
}
