//! The embedded log engine: what is committed is durable, in order, and all there or not at all. Synchronous; no network.
//!
//! ```text
//! callers ─▶ queue ─▶ sequencer ──────────────────────────────────────────────▶ answers
//!                      │ decide (pure) ─▶ effects ─▶ journal ─ one fdatasync a group
//!                      │                       │      ╰─▶ segments (page cache) ─▶ store ─▶ fetch, offset_at
//!                      │                       ╰ large batches: straight to their segment, synced with the journal
//!                      ╰ checkpoint: segments synced, state saved, older journals removed   ╰ recent (memory)
//! ```
//!
//! The data folder, every format drawn where it is coded:
//!
//! ```text
//! lock                                        held while the log is open
//! ballast                                     room for what must go on when the disk is full (ballast.rs)
//! checkpoint                                  the state at a place in the journal           (checkpoint.rs)
//! <20-digit number>.journal                   frames of commits, one file a checkpoint      (journal.rs, frame.rs)
//! topics/<topic>-<partition>/                 Kafka's names and formats:
//!     partition.metadata                      the topic's id                                (partition.rs)
//!     <20-digit base offset>.log              record batches, byte for byte                 (segment.rs)
//!     <20-digit base offset>.{index,timeindex}                                              (index.rs)
//!     <base offset>.<number>.merged.*         a new segment before it takes its place       (replacement.rs)
//! damaged/                                    files as a repair found them                  (inspect)
//! ```

pub mod commit;
pub mod config;
pub mod error;
mod log;
mod request;
mod queue;
mod sequencer;
mod decide;
mod effects;
mod state;
mod frame;
mod journal;
mod writer;
mod unsynced;
mod partition;
mod segment;
mod extent;
mod scan;
mod survey;
mod index;
mod files;
mod ballast;
mod buffers;
mod store;
mod recent;
mod read;
mod noticed;
mod retention;
pub mod pins;
mod brake;
mod replacement;
mod merge;
mod keymap;
mod compact;
mod checkpoint;
mod replay;
mod direct;
mod recovery;
pub mod inspect;

pub use config::{Config, Durability, TopicDefaults, TopicRule};
pub use error::Error;
pub use log::{CommitLog, Compacted, Fetched, Observer, TopicAltered};
pub use pins::Pins;
