//! A record in memory and in bytes: Kafka's RecordBatch v2, the one format from agent to client.
//!
//! Does no I/O, reads no clock, starts nothing. Takes lines and bytes in, gives batches and records out.

pub mod error;
pub mod limits;
pub mod ids;
pub mod source;
pub mod murmur2;
pub mod varint;
pub mod compression;
pub mod record;
pub mod header;
pub mod builder;
pub mod batch;
pub mod merge;

pub use batch::{Batch, Decoded};
pub use builder::{BatchBuilder, EncodedHeaders};
pub use compression::{Compression, Compressor};
pub use error::{BatchError, Fate, InvalidName};
pub use header::BatchHeader;
pub use ids::{AgentId, LogId, Offset, PartitionId, SourceId, TopicName, TopicPartition};
pub use merge::Merger;
pub use record::{Header, Record};
