//! Parquet files: rows of typed columns, the members of JSON values among them if the sink has a schema (docs/sinks.md).
//!
//! ```text
//! record ─▶ row (members, fields) ─▶ leaves ─▶ write: a row group once enough is buffered
//! ```
//!
//! A file's columns are fixed when it is opened, and with them the file can be made again from the log. Its digest is of its rows, column by
//! column, never of its bytes.

mod fields;
mod leaf;
mod members;
mod read;
mod row;
mod table;
mod write;

pub use fields::{Field, Kind, Names};
pub(super) use fields::{Learning, is_taken, pointer};
pub(super) use read::digest;
pub(super) use table::Table;
pub(super) use write::ParquetFile;

#[cfg(test)]
mod tests;
