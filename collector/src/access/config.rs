//! Table `[access]`: who has to say who they are.

use std::path::PathBuf;

use skidway_daemon::config::Section;

/// Says who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Whoever reaches the port.
    #[default]
    Open,
    /// Whoever has a token, or a certificate that the port verified.
    Tokens,
}

/// Configures who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessConfig {
    /// Who may call; `open`.
    pub mode: Mode,
    /// Holds the token of an administrator, made by `skidway tokens generate`; none. `credential:NAME` is a systemd credential.
    pub admin_token_file: Option<PathBuf>,
    /// Lets a collector listen beyond its own machine without asking anybody who they are; false.
    pub allow_unauthenticated: bool,
}

impl AccessConfig {
    /// Reads the table.
    pub fn read(access: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            mode: access.choice("mode", default.mode, &[("open", Mode::Open), ("tokens", Mode::Tokens)]),
            admin_token_file: access.optional("admin_token_file"),
            allow_unauthenticated: access.get("allow_unauthenticated", default.allow_unauthenticated),
        }
    }
}
