//! What shells and `man` know of the command line, made from it.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Error;

/// Prints the completion script of a shell.
///
/// # Errors
/// The output cannot be written.
pub fn completion(shell: Shell, out: &mut impl Write) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "skidway", &mut script);
    Ok(out.write_all(&script)?)
}

/// Prints the manual page, or writes the pages of all commands into a folder, which is made if need be.
///
/// # Errors
/// The output, or a file in the folder, cannot be written.
pub fn pages(folder: Option<&Path>, out: &mut impl Write) -> Result<(), Error> {
    let Some(folder) = folder else { return Ok(clap_mangen::Man::new(Cli::command()).render(out)?) };
    std::fs::create_dir_all(folder)?;
    Ok(clap_mangen::generate_to(Cli::command(), folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completion(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("produce") && script.contains("delete-records"), "{shell}");
        }
    }

    #[test]
    fn each_command_has_a_page() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("man1");
        pages(Some(&folder), &mut Vec::new()).unwrap();
        for page in ["skidway.1", "skidway-tail.1", "skidway-topics-create.1"] {
            let text = std::fs::read_to_string(folder.join(page)).unwrap();
            assert!(text.contains(".TH") && text.contains("\\-\\-url"), "{page}");
        }
    }
}
