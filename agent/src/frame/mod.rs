//! Bytes in, records out. Pure: reads no file and no clock.

pub mod lines;
pub mod encoding;
pub mod wide;
pub mod multiline;
pub mod framer;
pub mod container;
pub mod strands;
pub mod carry;
