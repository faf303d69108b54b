//! Connections on which nothing is asked: when there is no room for a newcomer, the one that has been silent longest goes.
//!
//! Whoever opens connections and asks for nothing can so never keep out those who ask. A request that runs, a stream that is open and an
//! answer that is not sent yet are never cut off for a newcomer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Knows who waits, and since when.
#[derive(Debug, Default)]
pub struct Lobby {
    /// By tickets, which grow: the first has waited longest.
    waiting: Mutex<BTreeMap<u64, CancellationToken>>,
    tickets: AtomicU64,
}

impl Lobby {
    /// Lets a connection wait for its first request.
    pub fn enter(self: &Arc<Self>) -> Seat {
        let seat = Seat(Arc::new(Place {
            lobby: self.clone(),
            running: Mutex::new(Running { requests: 0, ticket: None }),
            leave: CancellationToken::new(),
        }));
        seat.0.sit(&mut seat.0.running());
        seat
    }

    /// Asks the one that has waited longest to go; false if all are busy.
    pub fn send_away(&self) -> bool {
        let longest = self.waiting().pop_first();
        longest.inspect(|(_, leave)| leave.cancel()).is_some()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is a connection's part; its drop leaves the lobby.
#[derive(Debug)]
pub struct Seat(Arc<Place>);

impl Seat {
    /// Begins a request; it runs until what is given is dropped. `None` if the connection was sent away before: nothing may be done any more.
    pub fn ask(&self) -> Option<Busy> {
        let mut running = self.0.running();
        if let Some(ticket) = running.ticket {
            self.0.lobby.waiting().remove(&ticket)?;
            running.ticket = None;
        }
        running.requests += 1;
        Some(Busy(self.0.clone()))
    }

    /// Is cancelled when the connection has to make room.
    pub fn sent_away(&self) -> CancellationToken {
        self.0.leave.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut running = self.0.running();
        // What is still on its way out does not come back here.
        running.requests = u32::MAX >> 1;
        if let Some(ticket) = running.ticket.take() {
            self.0.lobby.waiting().remove(&ticket);
        }
    }
}

/// Is a request that runs, or an answer on its way.
#[derive(Debug)]
pub struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut running = self.0.running();
        running.requests -= 1;
        if running.requests == 0 {
            self.0.sit(&mut running);
        }
    }
}

#[derive(Debug)]
struct Place {
    lobby: Arc<Lobby>,
    running: Mutex<Running>,
    leave: CancellationToken,
}

#[derive(Debug)]
struct Running {
    requests: u32,
    ticket: Option<u64>,
}

impl Place {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sit(&self, running: &mut Running) {
        let ticket = self.lobby.tickets.fetch_add(1, Ordering::Relaxed);
        running.ticket = Some(ticket);
        self.lobby.waiting().insert(ticket, self.leave.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_silent_longest_goes_first_and_who_is_answered_never() {
        let lobby = Arc::new(Lobby::default());
        let [first, second, third] = [lobby.enter(), lobby.enter(), lobby.enter()];
        let gone = |seat: &Seat| seat.sent_away().is_cancelled();
        let asking = first.ask().unwrap();
        assert!(lobby.send_away());
        assert_eq!([&first, &second, &third].map(gone), [false, true, false], "the first asks");
        drop(asking);
        assert!(lobby.send_away());
        assert_eq!([&first, &second, &third].map(gone), [false, true, true], "the first was silent for less time");
        assert!(second.ask().is_none(), "it may not ask any more");
        let busy = (first.ask().unwrap(), first.ask().unwrap());
        drop(busy.0);
        assert!(!lobby.send_away(), "one answer is still on its way");
        drop(busy.1);
        drop(third);
        assert!(lobby.send_away());
        assert!(gone(&first) && !lobby.send_away());
    }

    #[test]
    fn a_connection_that_ends_leaves_nothing_behind() {
        let lobby = Arc::new(Lobby::default());
        let seat = lobby.enter();
        let answer = seat.ask().unwrap();
        drop(seat);
        drop(answer);
        drop(lobby.enter());
        assert!(!lobby.send_away());
        assert!(lobby.waiting().is_empty());
    }
}
