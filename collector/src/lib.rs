//! The collector: takes records in, keeps them in the log, hands them out. Rooms in the order data flows.

pub mod config;
pub mod server;
pub mod listen;
pub mod access;
pub mod ingest;
pub mod log;
pub mod log_tool;
pub mod json;
pub mod read;
pub mod queues;
pub mod groups;
pub mod keys;
pub mod sink;
pub mod blocking;
pub mod clock;
pub mod error;
pub mod metrics;
