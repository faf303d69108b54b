//! From what came in to commits: checks batches, finds partitions, encodes records, tells of losses.
//!
//! Knows no HTTP and no wire format. Nothing malformed gets past it, and nothing it refuses leaves a trace.

pub mod error;
pub mod validate;
pub mod partitioner;
pub mod encoder;
pub mod produce;
pub mod loss;
pub mod agent;
pub mod fleet;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use error::IngestError;
pub use validate::Validation;

use crate::log::Log;
use encoder::Compressors;
use partitioner::RoundRobin;

/// Takes in what agents and producers send.
pub struct Ingest {
    log: Arc<dyn Log>,
    validation: Validation,
    auto_create: Arc<AtomicBool>,
    compressors: Arc<Compressors>,
    keyless: RoundRobin,
}

impl Ingest {
    /// Writes to this log. While `auto_create` is set, producing to an unknown topic creates it.
    pub fn new(log: Arc<dyn Log>, validation: Validation, auto_create: Arc<AtomicBool>) -> Self {
        Self { log, validation, auto_create, compressors: Arc::default(), keyless: RoundRobin::default() }
    }
}
