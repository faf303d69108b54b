//! The bounded way from callers to the sequencer. A full queue holds its callers up; a halted one answers them at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::request::Request;

/// Holds the requests that wait.
pub(crate) struct Queue {
    requests_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
    end: End,
    /// Something beside the sequencer has ended.
    is_nudged: bool,
    /// What went wrong beside the sequencer.
    failure: Option<Error>,
    /// What later requests are answered.
    refusal: Option<Error>,
}

/// Says whether, and how, the log comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum End {
    /// Not now.
    #[default]
    Open,
    /// What waits is finished, a checkpoint is saved.
    Closing,
    /// Nothing more is done.
    Abandoned,
}

impl Queue {
    /// Makes an empty queue.
    pub(crate) fn new(requests_max: usize, bytes_max: usize) -> Self {
        let (arrived, room) = (Condvar::new(), Condvar::new());
        Self { requests_max, bytes_max, waiting: Mutex::default(), arrived, room }
    }

    /// Hands a request over; blocks while there is no room for it.
    pub(crate) fn push(&self, request: Request) {
        let bytes = request.bytes();
        let mut waiting = self.lock();
        while waiting.refusal.is_none() && !self.has_room(&waiting, bytes) {
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(refusal) = waiting.refusal.clone() {
            drop(waiting);
            return request.fail(&refusal);
        }
        waiting.bytes += bytes;
        waiting.requests.push_back(request);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Moves waiting requests of about `bytes_max` bytes, at least one, to `into`; waits up to `timeout`, or a nudge, for the first.
    ///
    /// # Errors
    /// What was reported by [`Queue::fail`].
    pub(crate) fn take(&self, into: &mut Vec<Request>, bytes_max: usize, timeout: Duration) -> Result<End, Error> {
        let nothing = |waiting: &mut Waiting| {
            waiting.requests.is_empty() && waiting.end == End::Open && waiting.failure.is_none() && !waiting.is_nudged
        };
        let waited = self.arrived.wait_timeout_while(self.lock(), timeout, nothing);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &waiting.failure {
            return Err(failure.clone());
        }
        waiting.is_nudged = false;
        let mut taken = 0;
        while taken < bytes_max
            && let Some(request) = waiting.requests.pop_front()
        {
            taken += request.bytes();
            into.push(request);
        }
        waiting.bytes -= taken;
        let end = if waiting.requests.is_empty() || waiting.end == End::Abandoned { waiting.end } else { End::Open };
        drop(waiting);
        self.room.notify_all();
        Ok(end)
    }

    /// Takes no more requests; those that wait are finished first unless the log is abandoned.
    pub(crate) fn close(&self, end: End) {
        let mut waiting = self.lock();
        waiting.end = end;
        waiting.refusal.get_or_insert(Error::Closed);
        drop(waiting);
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Lets the sequencer look, from another thread, at what has ended beside it.
    pub(crate) fn nudge(&self) {
        self.lock().is_nudged = true;
        self.arrived.notify_all();
    }

    /// Reports, from another thread, what must halt the sequencer.
    pub(crate) fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.arrived.notify_all();
    }

    /// Gives what was reported by [`Queue::fail`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.lock().failure.clone().map_or(Ok(()), Err)
    }

    /// Answers all that waits, and all that comes, with an error.
    pub(crate) fn refuse(&self, error: &Error) {
        let mut waiting = self.lock();
        waiting.refusal = Some(error.clone());
        waiting.bytes = 0;
        let requests = std::mem::take(&mut waiting.requests);
        drop(waiting);
        self.room.notify_all();
        requests.into_iter().for_each(|request| request.fail(error));
    }

    /// Tells whether a request fits; one larger than the whole queue fits when it is empty.
    fn has_room(&self, waiting: &Waiting, bytes: usize) -> bool {
        waiting.requests.is_empty()
            || (waiting.requests.len() < self.requests_max && waiting.bytes + bytes <= self.bytes_max)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
