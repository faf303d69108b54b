//! What two Skidway processes say to each other: the agents' frames, the HTTP paths and JSON bodies, the problems.
//!
//! Opens no socket, reads no clock. Values in, bytes out, and back.

pub mod access;
pub mod error;
pub mod codec;
pub mod source;
pub mod item;
pub mod commit;
pub mod http;
pub mod problem;
pub mod queues;
pub mod reading;
pub mod sinks;
pub mod groups;
pub mod table;

pub use commit::{CommitAnswer, CommitRequest, OpenSession, SessionOpened};
pub use error::WireError;
pub use http::{JsonRecord, TopicList};
pub use item::{Item, ItemResult, SpanKind};
pub use problem::Problem;
pub use reading::{Gone, Reconnect};
pub use sinks::{SinkAudit, SinkFinding, SinkJob, SinkPlan};
pub use source::SourcePage;
pub use table::{TablePage, TableWatermark, table_path};
