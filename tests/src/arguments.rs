//! Command-line numbers of the bench programs.

use std::str::FromStr;

/// Gives the number after `name` on the command line, or the default.
///
/// # Panics
/// When what follows is none.
pub fn number<T: FromStr>(name: &str, default: T) -> T {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} {text}: not a number"));
    args.next().map_or(default, parse)
}
