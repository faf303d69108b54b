//! Decides what a request does, or why it is refused. Pure: the state is only read; time and fresh ids are handed in.
//!
//! A request's checks come in this order: session, producer (a duplicate ends here, with its first answer), expected offset, source,
//! targets. Either all changes are returned or a refusal, so that nothing is ever half done.

mod draft;
mod producer;
mod source;
mod topic;

use crate::commit::{Commit, Committed, OpenSession, Refusal, Session, SessionRef};
use crate::config::TopicDefaults;
use crate::effects::{Change, TopicId};
use crate::partition::SegmentLimits;
use crate::state::State;
use draft::Draft;

pub(crate) use topic::{check_pins, decide_defaults, decide_topic};

/// Holds what is handed in beside the state.
pub(crate) struct Circumstances<'a> {
    /// What new topics get.
    pub(crate) topics: &'a TopicDefaults,
    /// When segments are closed.
    pub(crate) segments: SegmentLimits,
    /// Now, in ms since 1970.
    pub(crate) now_ms: i64,
    /// Mints the id of a new topic.
    pub(crate) mint: &'a mut dyn FnMut() -> TopicId,
}

/// Decides a commit: what changes, and the answer to give once that is durable.
pub(crate) fn decide_commit(
    state: &State,
    commit: &Commit,
    circumstances: &mut Circumstances<'_>,
) -> Result<(Vec<Change>, Committed), Refusal> {
    if let Some(session) = &commit.session {
        check_session(state, session)?;
    }
    if let Some(sequence) = &commit.producer
        && let Some(first_answer) = producer::check(state, sequence)?
    {
        return Ok((Vec::new(), first_answer));
    }
    let mut draft = Draft::new(state, circumstances);
    if let Some((partition, offset)) = &commit.expected_offset {
        draft.expect_offset(partition, *offset)?;
    }
    let source = source::decide(&mut draft, commit)?;
    draft.open_input(commit);
    for (target, batch) in &commit.batches {
        draft.append(target, source.as_ref(), batch)?;
    }
    if let Some(sequence) = &commit.producer {
        producer::remember(&mut draft, sequence)?;
    }
    Ok(draft.finish())
}

/// Decides the opening of a session: only right after the one it names, so that a late copy of the request does nothing.
pub(crate) fn decide_session(
    state: &State,
    open: &OpenSession,
    follows: u64,
) -> Result<(Vec<Change>, Session), Refusal> {
    let known = state.agent(&open.agent);
    let current = known.map_or(0, |agent| agent.epoch);
    if follows != current {
        return Err(Refusal::SessionSuperseded { follows, current });
    }
    let opened_inputs = known.map_or(Vec::new(), |agent| agent.opened_inputs.clone());
    let epoch = current + 1;
    let changes = vec![Change::SessionOpened { session: open.clone(), epoch }];
    Ok((changes, Session { epoch, opened_inputs }))
}

fn check_session(state: &State, session: &SessionRef) -> Result<(), Refusal> {
    let current = state.agent(&session.agent).map(|agent| agent.epoch);
    if current == Some(session.epoch) { Ok(()) } else { Err(Refusal::Fenced { epoch: session.epoch, current }) }
}

#[cfg(test)]
mod tests;
