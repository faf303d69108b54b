//! Where answers go, and in which form: the standard output for answers, the standard error for everything said about them.

use std::io::{self, IsTerminal, Write};

/// Says in which form answers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// JSON, for programs.
    pub json: bool,
    /// A person looks at it, so that control characters must not reach the terminal.
    pub terminal: bool,
    /// Colours are welcome.
    pub colours: bool,
}

impl Form {
    /// Looks at the standard output and at `NO_COLOR` (<https://no-color.org>).
    pub fn of_stdout(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let welcome = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, terminal, colours: terminal && welcome && !json }
    }
}

/// Says something to the person at the keyboard, on the standard error.
pub fn note(text: impl std::fmt::Display) {
    // If even this cannot be said, there is nobody to say it to.
    let _nobody_listens = writeln!(io::stderr(), "{text}");
}
