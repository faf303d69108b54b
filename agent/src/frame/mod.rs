//! Bytes in, records out. Pure: reads no file and no clock.

pub mod lines;
pub mod multiline;
pub mod framer;
