//! The protocol keeps its promises in every state of small worlds; each of its rules is needed; what the programs lack is known.

#![allow(clippy::print_stdout, reason = "what was explored is shown with the test")]

use std::collections::BTreeSet;
use std::time::Instant;

use skidway_model::promises::{
    EVERYTHING_ARRIVES, EXACTLY_ONCE, NOT_FENCED_BY_ITSELF, NOTHING_SEEN_VANISHES, NOTHING_TOLD_VANISHES, ONE_SESSION,
};
use skidway_model::rules::{Bounds, Rules};
use skidway_model::world::Protocol;
use stateright::{Checker, HasDiscoveries, Model};

/// Two agents at once, a collector that fails, spans of different lengths.
const RIVALS: Bounds = Bounds { files: 1, bytes: 2, processes: 2, sessions: 3, faults: 1, group: 2, absences: 0 };
/// One agent, whose requests may come late.
const ALONE: Bounds = Bounds { processes: 1, ..RIVALS };
/// Two files at once.
const TWO_FILES: Bounds = Bounds { files: 2, bytes: 1, ..ALONE };
/// A file that is away for a while, and an agent that is started again.
const ABSENCE: Bounds = Bounds { faults: 0, absences: 1, group: 1, ..RIVALS };
/// The same while the collector fails.
const ABSENCE_AND_FAULT: Bounds = Bounds { absences: 1, ..ALONE };

/// Time for a session more: one to ship in, one to report the file gone, one for its return, one to find out what was forgotten.
const LONG_ABSENCE: Bounds = Bounds { sessions: 4, ..ABSENCE };

/// Larger worlds, for the long tier.
const LARGE: [Bounds; 4] = [
    Bounds { bytes: 3, faults: 2, ..RIVALS },
    Bounds { bytes: 1, processes: 3, sessions: 4, group: 3, ..RIVALS },
    Bounds { faults: 1, group: 2, sessions: 4, ..ABSENCE },
    Bounds { processes: 2, ..TWO_FILES },
];

/// Explores a world to its end, and gives the promises broken.
fn check(rules: Rules, bounds: Bounds) -> BTreeSet<&'static str> {
    let started = Instant::now();
    let checker = Protocol { rules, bounds }.checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done(), "every state was looked at");
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{bounds:?}: {states} states, {steps} steps, {depth} deep, {:?}", started.elapsed());
    for (promise, path) in checker.discoveries() {
        println!("broken: {promise}\n{:#?}", path.into_actions());
    }
    checker.discoveries().into_keys().collect()
}

/// Looks for a way to break a promise, and shows the shortest.
fn can_break(promise: &'static str, rules: Rules, bounds: Bounds) -> bool {
    let found = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    let checker = Protocol { rules, bounds }.checker().finish_when(found).spawn_bfs().join();
    let path = checker.discovery(promise);
    println!("{bounds:?}: {} states\n{rules:?}", checker.unique_state_count());
    println!("{promise}: {:#?}", path.as_ref().map(|path| path.clone().into_actions()));
    path.is_some()
}

#[test]
fn every_promise_is_kept_in_every_state() {
    for bounds in [RIVALS, ALONE, TWO_FILES, ABSENCE, ABSENCE_AND_FAULT] {
        assert_eq!(check(Rules::ALL, bounds), BTreeSet::new());
    }
}

/// The long tier looks at larger worlds; the quick one makes sure that they are larger than its own.
#[test]
fn every_promise_is_kept_in_every_state_of_larger_worlds() {
    let scale = std::env::var("SKIDWAY_TEST_SCALE").ok().and_then(|scale| scale.parse::<u32>().ok());
    for bounds in LARGE {
        assert!(bounds.processes >= RIVALS.processes);
        if scale.is_some_and(|scale| scale >= 10) {
            assert_eq!(check(Rules::ALL, bounds), BTreeSet::new());
        }
    }
}

#[test]
fn each_rule_is_needed() {
    let all = Rules::ALL;
    let cases = [
        (Rules { spans_start_at_the_position: false, ..all }, RIVALS, EXACTLY_ONCE),
        (Rules { batch_and_position_are_one_commit: false, ..all }, RIVALS, EXACTLY_ONCE),
        (Rules { checks_are_against_staged_state: false, ..all }, RIVALS, EXACTLY_ONCE),
        (Rules { acceptances_wait_for_the_sync: false, ..all }, RIVALS, NOTHING_TOLD_VANISHES),
        (Rules { refusals_wait_for_the_sync: false, ..all }, RIVALS, NOTHING_TOLD_VANISHES),
        (Rules { records_are_shown_after_the_sync: false, ..all }, RIVALS, NOTHING_SEEN_VANISHES),
        (Rules { a_failed_sync_halts: false, ..all }, RIVALS, NOTHING_SEEN_VANISHES),
        (Rules { recovery_syncs_before_it_shows: false, ..all }, RIVALS, NOTHING_SEEN_VANISHES),
        (Rules { an_opening_is_a_commit: false, ..all }, RIVALS, ONE_SESSION),
        (Rules { the_collector_is_the_truth: false, ..all }, RIVALS, EVERYTHING_ARRIVES),
        (Rules { a_newer_session_fences: false, ..all }, LONG_ABSENCE, EXACTLY_ONCE),
        (Rules { a_source_that_returns_is_rebound: false, ..all }, LONG_ABSENCE, EXACTLY_ONCE),
        (Rules { a_return_opens_a_session: false, ..all }, LONG_ABSENCE, EXACTLY_ONCE),
        (Rules { an_opening_is_compare_and_set: false, ..all }, ALONE, NOT_FENCED_BY_ITSELF),
    ];
    for (rules, bounds, promise) in cases {
        assert!(can_break(promise, rules, bounds), "{promise} is kept without a rule: {rules:?}");
    }
}

/// Creating by compare-and-set and listing in the session guard the same thing: that a file has one source.
#[test]
fn one_of_two_rules_is_enough_for_one_source_a_file() {
    let no_set = Rules { creation_is_compare_and_set: false, ..Rules::ALL };
    let no_list = Rules { sources_are_listed_in_the_session: false, ..Rules::ALL };
    assert_eq!(check(no_set, RIVALS), BTreeSet::new());
    assert_eq!(check(no_list, RIVALS), BTreeSet::new());
    let neither = Rules { sources_are_listed_in_the_session: false, ..no_set };
    assert!(can_break(EXACTLY_ONCE, neither, RIVALS));
}

/// Sessions are needed for reports of files that went away, not for the bytes of files that stay.
#[test]
fn positions_alone_keep_the_bytes_of_files_that_stay() {
    let unfenced = Rules { a_newer_session_fences: false, ..Rules::ALL };
    assert_eq!(check(unfenced, RIVALS), BTreeSet::new());
}
