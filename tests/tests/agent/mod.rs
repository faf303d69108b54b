//! What the agent must survive: files renamed, copied, packed, torn, too many; programs killed; disks and networks that fail. Each scenario of
//! `docs/SCENARIOS.md` is a test named for the behaviour; its number stands in the test's doc comment (`Scenario 13`), from which
//! `scripts/scenarios` makes the list that `./scripts/test` prints.
//!
//! | module | promise |
//! |---|---|
//! | `delivery` | what a line becomes, and that each one arrives once |
//! | `rotation` | files renamed, removed, recreated |
//! | `truncation` | files truncated, copied first or not |
//! | `identity` | which file is which: inodes used again, links, file systems mounted anew, disks that fail |
//! | `archives` | files compressed: read once, and only what was not read before |
//! | `restart` | programs killed, frozen, cut off |
//! | `state` | the agent's state damaged, unreadable, full, set back, in use twice |
//! | `pressure` | a file much busier than others, a collector that refuses, a backlog |
//! | `operations` | configuration reloaded, files removed once read, limits of what is read and kept |
//! | `accounts` | `verify`, `status` and health tell the truth |
//! | `many_files` | more files than can be open or watched, more events than are kept |
//! | `conditions` | clocks that jump, permissions, frozen and starved programs, certificates and addresses that change |
//! | `joining` | records that are more than a line of a file, or less: fragments, traces, lines too long or half written, bytes |
//!
//! Everything at once, drawn from a seed, is `bench/soak agent`; the full tier of this area runs it, too.
//!
//! Durations and sizes are those of the text times [`skidway_tests::scale`]: a sixtieth in the quick tier.

mod delivery;
mod rotation;
mod truncation;
mod identity;
mod archives;
mod restart;
mod state;
mod pressure;
mod operations;
mod accounts;
mod many_files;
mod conditions;
mod joining;
