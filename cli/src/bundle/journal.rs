//! What the service manager's journal has of our units, asked of `journalctl` where that is there.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{LOG_BYTES_MAX, LOG_LINES_MAX};

const UNITS: [&str; 2] = ["skidway-agent", "skidway-collector"];
/// A large journal takes its time; one that takes longer is left out.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives the last lines of each unit, or why they cannot be had, with the name of a file for them. Without `journalctl` there are none.
pub fn last_lines() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for unit in UNITS {
        let text = match of_unit(unit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => format!("cannot be had of journalctl: {error}\n"),
            Ok(text) if text.is_empty() => {
                "journalctl shows none; may this user see them? Root and group systemd-journal may\n".to_owned()
            }
            Ok(text) => text,
        };
        files.push((format!("log/{unit}.journal"), text));
    }
    files
}

fn of_unit(unit: &str) -> io::Result<String> {
    let mut command = Command::new("journalctl");
    command.args([
        "--unit",
        unit,
        "--lines",
        &LOG_LINES_MAX.to_string(),
        "--output",
        "short-iso",
        "--no-pager",
        "--quiet",
    ]);
    // The newest first: past the bound it is the oldest that is cut off.
    let mut child =
        command.arg("--reverse").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let said = child.stdout.take().expect("it is piped");
    let (sender, received) = sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = said.take(LOG_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes);
        let _nobody_waits_any_more = sender.send(read);
    });
    let read = received.recv_timeout(PATIENCE);
    // It may have more to say than is wanted, or hang.
    let _has_ended = child.kill();
    child.wait()?;
    let bytes = read.map_err(|_| io::Error::other(format!("no answer within {} s", PATIENCE.as_secs())))??;
    Ok(in_order(&bytes))
}

/// Turns lines, the newest first, into their order. Half a line at the bound goes.
fn in_order(bytes: &[u8]) -> String {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&bytes[..whole]);
    text.lines().rev().fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_order_and_half_a_line_goes() {
        assert_eq!(in_order(b"three\ntwo\none\nze"), "one\ntwo\nthree\n");
        assert_eq!(in_order(b"half"), "");
    }
}
