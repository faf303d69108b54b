//! Bytes in, lines out. Pure: reads no file and no clock.

pub mod lines;
