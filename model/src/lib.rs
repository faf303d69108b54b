//! The agents' protocol (DESIGN §3) as a model, small enough to be checked in every state it can reach. It is documentation that runs:
//! no program uses it, and it uses none of theirs.
//!
//! ```text
//!   agent ──requests──▶ network ──▶ collector: staged ─▶ journal ─▶ shown ─▶ answered
//!     ▲                   │ keeps all that was ever sent,            │
//!     └────answers────────┘ and delivers it late, twice or never ◀───┘
//! ```
//!
//! `rules` names what keeps the protocol true, each with a switch, so that tests can show what breaks without it. `agent`,
//! `collector` and `network` are the parties, `world` puts them together and says what can happen next, `promises` says what
//! must hold in every state, `kindness` how everything still arrives once nothing breaks any more. docs/adr/0007 tells what was found.

pub mod rules;
pub mod log;
pub mod network;
pub mod agent;
pub mod collector;
pub mod world;
pub mod kindness;
pub mod promises;
