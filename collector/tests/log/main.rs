//! The conformance suite of trait `Log`: what any engine must do, whatever stands behind it.
//!
//! `suite` says what an engine gives the suite and lists the checks; `commits`, `producers`, `sources`, `reading`, `topics` and `restart` hold
//! them, each named for its rule. An engine passes in a file of its own (`embedded`); another one is three functions and the line
//! `conforms!` away.

#![allow(clippy::unwrap_used, reason = "a check says what went wrong by failing there")]

#[macro_use]
mod suite;
mod commits;
mod producers;
mod sources;
mod reading;
mod topics;
mod restart;
mod embedded;
