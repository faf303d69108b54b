//! The collector's doors. One so far: HTTP.

pub mod http;
