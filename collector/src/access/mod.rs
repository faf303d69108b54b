//! Who may do what: bearer tokens, what they are good for, how much their holders may use, and what is written down of it.
//!
//! ```text
//! listen ─▶ registry (who is it? make, revoke, enrol) ─▶ __skidway.tokens
//!    │            └─▶ caller (what may it?) ─▶ grants (patterns of topics: pure)
//!    │                      └─▶ quota (how much? pure)
//!    └────▶ audit ─▶ __skidway.audit
//! ```
//!
//! Of a token only the SHA-256 of its secret is kept. A secret is 256 random bits, so there is no list of likely ones to try: a slow hash,
//! as passwords need, would cost every request and stop nobody. Secrets are compared in constant time, and a token that is not known costs
//! what a known one does. Knows no HTTP.

pub mod administrator;
pub mod audit;
pub mod caller;
pub mod config;
pub mod error;
pub mod grants;
pub mod quota;
pub mod registry;
pub mod token;

pub use caller::{Caller, Leave};
pub use config::{AccessConfig, Mode};
pub use error::{AccessError, Denied, NotIdentified, OpenError};
pub use registry::Access;
