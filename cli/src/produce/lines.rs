//! Lines of a file or of the standard input, in batches: as many as are there already, and never waiting for more.
//!
//! A thread reads, because a terminal or a pipe may keep silent for hours; a bounded queue stands between.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// So many records go in one request at most.
pub(super) const BATCH_LINES_MAX: usize = 1_000;
/// A request is sent once its lines have so many bytes.
pub(super) const BATCH_BYTES_MAX: usize = 512 << 10;
/// The longest line: what fits a record batch with room for its headers.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Lines read ahead while a request is under way.
const QUEUE_LINES: usize = 1_000;

/// Gives the lines of an input.
#[derive(Debug)]
pub(super) struct Lines {
    queue: Receiver<io::Result<Vec<u8>>>,
}

impl Lines {
    /// Starts reading a file; `-` is the standard input.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let input: Box<dyn Read + Send> =
            if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
        Self::read(BufReader::with_capacity(64 << 10, input))
    }

    fn read(input: impl BufRead + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = channel(QUEUE_LINES);
        std::thread::Builder::new().name("input".to_owned()).spawn(move || pump(input, &lines))?;
        Ok(Self { queue })
    }

    /// Waits for a line and takes those that are there behind it; empty at the end of the input.
    pub(super) async fn batch(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut line = self.queue.recv().await;
        while let Some(found) = line {
            let found = found?;
            bytes += found.len();
            batch.push(found);
            if batch.len() == BATCH_LINES_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            line = self.queue.try_recv().ok();
        }
        Ok(batch)
    }
}

/// Reads until the end, an error, or nobody wants lines any more.
fn pump(mut input: impl BufRead, lines: &Sender<io::Result<Vec<u8>>>) {
    for number in 1u64.. {
        let line = read_line(&mut input, number).transpose();
        let Some(line) = line else { return };
        let failed = line.is_err();
        if lines.blocking_send(line).is_err() || failed {
            return;
        }
    }
}

/// Reads one line without its LF, and without one CR before it.
fn read_line(input: &mut impl BufRead, number: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    if line.len() > LINE_BYTES_MAX {
        let reason = format!("line {number} is longer than 1 MiB, which no record may be");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Reads all lines of an input, however they fall into batches.
    async fn lines(input: impl Into<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Lines::read(Cursor::new(input.into()))?;
        let mut all = Vec::new();
        loop {
            let batch = lines.batch().await?;
            if batch.is_empty() {
                return Ok(all);
            }
            assert!(batch.len() <= BATCH_LINES_MAX);
            all.extend(batch);
        }
    }

    #[tokio::test]
    async fn lines_end_in_lf_and_lose_one_cr_before_it() {
        let cases: [(&[u8], &[&[u8]]); 7] = [
            (b"", &[]),
            (b"a\nb\n", &[b"a", b"b"]),
            (b"a\nb", &[b"a", b"b"]),
            (b"\n\n", &[b"", b""]),
            (b"a\r\nb\r\r\nc\r", &[b"a", b"b\r", b"c\r"]),
            (b"\xff\0\n", &[b"\xff\0"]),
            (b"\r\n", &[b""]),
        ];
        for (input, expected) in cases {
            assert_eq!(lines(input).await.unwrap(), expected, "{input:?}");
        }
    }

    #[tokio::test]
    async fn a_long_input_comes_in_bounded_batches() {
        let input = "x\n".repeat(5 * BATCH_LINES_MAX + 1);
        assert_eq!(lines(input).await.unwrap().len(), 5 * BATCH_LINES_MAX + 1);
    }

    #[tokio::test]
    async fn a_line_that_fits_no_record_is_named() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(lines(format!("{longest}\r\n")).await.unwrap()[0].len(), LINE_BYTES_MAX);
        let error = lines(format!("a\n{longest}x\n")).await.unwrap_err();
        assert_eq!(error.to_string(), "line 2 is longer than 1 MiB, which no record may be");
    }
}
