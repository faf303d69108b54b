//! What is remembered of the agents beside what the log knows: who spoke when, from where, and how far behind it was.
//!
//! Memory only, bounded; a restart forgets it and counts every silence anew. Time is handed in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skidway_record::AgentId;
use skidway_wire::codec::VERSION;

use crate::ingest::IngestError;
use crate::log::AgentState;

/// Bounds the agents remembered; past it the longest silent one is forgotten.
const AGENTS_MAX: usize = 100_000;

/// Lets another machine take over an agent id after this long a silence of the first.
const SILENCE: Duration = Duration::from_secs(60);

/// Remembers agents.
#[derive(Debug, Default)]
pub struct Fleet(Mutex<HashMap<AgentId, Member>>);

/// Holds what is remembered of one agent.
#[derive(Debug, Clone)]
struct Member {
    machine_id: String,
    address: String,
    heard_at: Instant,
    report: Option<Report>,
    protocol: u8,
}

/// Holds what an agent last said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// Bytes on disk it has not got acknowledged.
    pub bytes_behind: Option<u64>,
    /// Age of the oldest of them, in ms.
    pub oldest_unacknowledged_ms: Option<u64>,
}

impl Fleet {
    /// Starts with the agents the log knows, as if all had spoken just now.
    pub fn new(known: Vec<AgentState>, now: Instant) -> Self {
        let members = known.into_iter().take(AGENTS_MAX).map(|state| {
            let member = Member {
                machine_id: state.session.machine_id,
                address: "unknown".to_owned(),
                heard_at: now,
                report: None,
                protocol: VERSION,
            };
            (state.session.agent, member)
        });
        Self(Mutex::new(members.collect()))
    }

    /// Tells whether a machine may open a session: not while another machine speaks under the same id.
    ///
    /// # Errors
    /// [`IngestError::AgentIdInUse`] (retry), with the addresses of both.
    pub fn may_open(&self, agent: &AgentId, machine: &str, address: &str, now: Instant) -> Result<(), IngestError> {
        let members = self.lock();
        let Some(holder) = members.get(agent).filter(|member| member.machine_id != machine) else { return Ok(()) };
        let silent = now.saturating_duration_since(holder.heard_at);
        if silent >= SILENCE {
            return Ok(());
        }
        Err(IngestError::AgentIdInUse {
            agent: agent.to_string(),
            holder: holder.address.clone(),
            asker: address.to_owned(),
            silent,
            retry_after: SILENCE - silent,
        })
    }

    /// Notes that a machine opened a session.
    pub fn opened(&self, agent: &AgentId, machine: &str, address: &str, now: Instant, at_ms: i64) {
        let mut members = self.lock();
        if members.len() >= AGENTS_MAX && !members.contains_key(agent) {
            let silent = members.iter().min_by_key(|(_, member)| member.heard_at).map(|(id, _)| id.clone());
            silent.and_then(|id| members.remove(&id));
        }
        let report = Report { at_ms, bytes_behind: None, oldest_unacknowledged_ms: None };
        let member = Member {
            machine_id: machine.to_owned(),
            address: address.to_owned(),
            heard_at: now,
            report: Some(report),
            protocol: VERSION,
        };
        members.insert(agent.clone(), member);
    }

    /// Notes in which version of the agents' protocol an agent opened its session.
    pub fn speaks(&self, agent: &AgentId, protocol: u8) {
        if let Some(member) = self.lock().get_mut(agent) {
            member.protocol = protocol;
        }
    }

    /// Gives that version; ours if the agent has not spoken since the start.
    pub fn spoken_by(&self, agent: &AgentId) -> u8 {
        self.lock().get(agent).map_or(VERSION, |member| member.protocol)
    }

    /// Notes what an agent said of itself with the proof of its session.
    pub fn reported(&self, agent: &AgentId, report: Report, now: Instant) {
        if let Some(member) = self.lock().get_mut(agent) {
            member.heard_at = now;
            member.report = Some(report);
        }
    }

    /// Gives what an agent last said; `None` if it has not spoken since the start.
    pub fn report(&self, agent: &AgentId) -> Option<Report> {
        self.lock().get(agent).and_then(|member| member.report)
    }

    /// Lists the agents that have spoken since the start, by id: how long ago, and what they said; and counts those that have not.
    pub fn heard(&self, now: Instant) -> (Vec<(AgentId, Duration, Report)>, usize) {
        let members = self.lock();
        let spoken = |(id, member): (&AgentId, &Member)| {
            Some((id.clone(), now.saturating_duration_since(member.heard_at), member.report?))
        };
        let mut heard: Vec<_> = members.iter().filter_map(spoken).collect();
        let unheard = members.len() - heard.len();
        drop(members);
        heard.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        (heard, unheard)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::OpenSession;

    fn agent() -> AgentId {
        AgentId::new("web-1").unwrap()
    }

    #[test]
    fn another_machine_gets_in_after_a_minute_of_silence() {
        let (fleet, start) = (Fleet::default(), Instant::now());
        let may = |machine, seconds| {
            fleet.may_open(&agent(), machine, "10.0.0.2:1", start + Duration::from_secs(seconds)).is_ok()
        };
        assert!(may("a", 0));
        fleet.opened(&agent(), "a", "10.0.0.1:1", start, 0);
        assert_eq!((may("a", 1), may("b", 59), may("b", 60)), (true, false, true));

        let report = Report { at_ms: 30, bytes_behind: Some(7), oldest_unacknowledged_ms: Some(1) };
        fleet.reported(&agent(), report, start + Duration::from_secs(30));
        assert_eq!((may("b", 89), may("b", 90)), (false, true));
        assert_eq!(fleet.report(&agent()), Some(report));
        let heard = fleet.heard(start + Duration::from_secs(40));
        assert_eq!(heard, (vec![(agent(), Duration::from_secs(10), report)], 0));
    }

    #[test]
    fn a_restart_counts_silence_anew_and_names_both_addresses() {
        let session = OpenSession { agent: agent(), machine_id: "a".into(), host: "h".into(), version: "1".into() };
        let known = AgentState { session, epoch: 4, opened_inputs: vec![] };
        let start = Instant::now();
        let fleet = Fleet::new(vec![known], start);
        let refused = fleet.may_open(&agent(), "b", "10.0.0.2:1", start).unwrap_err().to_string();
        assert!(refused.contains("unknown") && refused.contains("10.0.0.2:1"), "{refused}");
        assert!(fleet.may_open(&agent(), "a", "10.0.0.1:1", start).is_ok());
        assert_eq!(fleet.report(&agent()), None);
        assert_eq!(fleet.heard(start), (vec![], 1));
    }
}
