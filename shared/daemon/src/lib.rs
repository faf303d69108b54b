//! What each of our processes needs: configuration, telemetry, signals, back-off, the service manager, numbers as people read them.
//!
//! Knows nothing of records, logs or the network. Nothing here starts on its own; `main` calls what it wants.

pub mod config;
pub mod telemetry;
pub mod log_level;
pub mod process;
pub mod tls;
pub mod secret;
pub mod descriptors;
pub mod shutdown;
pub mod notify;
pub mod backoff;
pub mod human;

/// Names this build: `0.1.0 (commit abc1234)`, or `0.1.0 (unknown commit)` when it was not built from a git checkout.
pub const VERSION: &str = env!("SKIDWAY_VERSION");
