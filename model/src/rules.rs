//! What keeps the protocol true, each rule with a switch; and how large a world is looked at.

/// Says which rules are kept. All are, in the protocol; a test breaks one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A span is accepted only if it starts at its source's position.
    pub spans_start_at_the_position: bool,
    /// A batch and the position it moves are one commit.
    pub batch_and_position_are_one_commit: bool,
    /// Requests are checked against staged state, not against what is durable.
    pub checks_are_against_staged_state: bool,
    /// What was accepted is answered only when it is durable.
    pub acceptances_wait_for_the_sync: bool,
    /// Refusals and lists, which tell of staged state too, are answered only when that is durable.
    pub refusals_wait_for_the_sync: bool,
    /// Records are shown to readers only when they are durable.
    pub records_are_shown_after_the_sync: bool,
    /// A failed sync ends the process instead of being taken for done.
    pub a_failed_sync_halts: bool,
    /// Recovery makes durable what it found before it shows it.
    pub recovery_syncs_before_it_shows: bool,
    /// Only the newest session's requests are accepted.
    pub a_newer_session_fences: bool,
    /// The opening of a session is a commit, not a number in memory.
    pub an_opening_is_a_commit: bool,
    /// The agent goes on where the collector says, not where its checkpoint does.
    pub the_collector_is_the_truth: bool,
    /// A source is created only if no other source has the file.
    pub creation_is_compare_and_set: bool,
    /// The agent lists its sources in its session, not before it.
    pub sources_are_listed_in_the_session: bool,
    /// A source that was reported gone and is followed again is reported back.
    pub a_source_that_returns_is_rebound: bool,
    /// An agent that reported a source gone and finds it again opens a new session first, which fences the report's late copies.
    pub a_return_opens_a_session: bool,
    /// The opening of a session names the session it follows, and is refused if that is no longer the newest. So a late copy of one does nothing.
    pub an_opening_is_compare_and_set: bool,
}

impl Rules {
    /// Keeps every rule.
    pub const ALL: Self = Self {
        spans_start_at_the_position: true,
        batch_and_position_are_one_commit: true,
        checks_are_against_staged_state: true,
        acceptances_wait_for_the_sync: true,
        refusals_wait_for_the_sync: true,
        records_are_shown_after_the_sync: true,
        a_failed_sync_halts: true,
        recovery_syncs_before_it_shows: true,
        a_newer_session_fences: true,
        an_opening_is_a_commit: true,
        the_collector_is_the_truth: true,
        creation_is_compare_and_set: true,
        sources_are_listed_in_the_session: true,
        a_source_that_returns_is_rebound: true,
        a_return_opens_a_session: true,
        an_opening_is_compare_and_set: true,
    };
}

/// Bounds the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Files, each a source when all is well.
    pub files: usize,
    /// Bytes of each file, all there from the start.
    pub bytes: u8,
    /// Agent processes ever started; all have the same agent id, and any number of them may live at once.
    pub processes: usize,
    /// Sessions ever opened, late and repeated openings included.
    pub sessions: u8,
    /// Kills, power cuts and failed syncs of the collector.
    pub faults: u8,
    /// Commits that share a sync.
    pub group: usize,
    /// How often a file is away for a while.
    pub absences: u8,
}
