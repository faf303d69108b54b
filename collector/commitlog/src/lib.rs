//! The embedded log engine.

pub mod commit;
