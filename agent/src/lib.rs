//! The agent: follows log files and ships every line of them to the collector exactly once (DESIGN §4).
//!
//! Data flows down this list; acknowledgements alone run back, to the checkpoint. A stage imports [`flow`] and its own folder,
//! never a sibling; [`pipeline`] alone names them all. The log file is the buffer: nothing of it is stored a second time.

pub mod config;
pub mod flow;
pub mod discover;
pub mod tail;
pub mod frame;
pub mod batch;
pub mod ship;
pub mod checkpoint;
pub mod pipeline;
pub mod health;
pub mod admin;
pub mod status;
pub mod show;
pub mod verify;
pub mod metrics;
pub mod error;

pub use config::Config;
pub use error::AgentError;
pub use pipeline::{Agent, Exit, Reloader};
