//! Lines of container runtimes: what one says of the fragment it holds. Pure; copies a text only if it was escaped.
//!
//! ```text
//! cri      2026-01-31T10:11:12.123456789Z stdout F text        (P: the line goes on in a later one; more tags may follow it: P:tag)
//! docker   {"log":"text\n","stream":"stdout","time":"2026-01-31T10:11:12.123456789Z"}   (without the \n the line goes on)
//! ```
//!
//! CRI: the Kubernetes proposal "kubelet CRI logging"; docker: its `json-file` driver, other fields such as `attrs` ignored.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// Says which runtime writes an input's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// containerd, CRI-O.
    Cri,
    /// Docker's `json-file`.
    Docker,
    /// Either; each line tells.
    Auto,
}

/// Names one of the two outputs of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Holds a line of a program, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Which output.
    pub stream: Stream,
    /// When it was written, in ms since 1970.
    pub at_ms: i64,
    /// The text, without line end.
    pub text: Cow<'a, [u8]>,
    /// The line ends here.
    pub is_last: bool,
}

#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl Container {
    /// Reads a line without its line end; `None` if no such runtime wrote it.
    pub fn read(self, line: &[u8]) -> Option<Fragment<'_>> {
        match self {
            Self::Cri => read_cri(line),
            Self::Docker => read_docker(line),
            Self::Auto if line.first() == Some(&b'{') => read_docker(line),
            Self::Auto => read_cri(line),
        }
    }
}

impl Stream {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

fn read_cri(line: &[u8]) -> Option<Fragment<'_>> {
    let (time, rest) = split_at_space(line)?;
    let (stream, rest) = split_at_space(rest)?;
    // An empty text may come without the space before it.
    let (tags, text) = split_at_space(rest).unwrap_or((rest, &[]));
    let is_last = match tags.split(|&byte| byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let (stream, at_ms) = (Stream::named(stream)?, read_time(std::str::from_utf8(time).ok()?)?);
    Some(Fragment { stream, at_ms, text: Cow::Borrowed(text), is_last })
}

fn read_docker(line: &[u8]) -> Option<Fragment<'_>> {
    let DockerLine { log, stream, time } = serde_json::from_slice(line).ok()?;
    let is_last = log.ends_with('\n');
    let text = match log {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text).as_bytes()),
        Cow::Owned(mut text) => {
            text.truncate(text.len() - usize::from(is_last));
            Cow::Owned(text.into_bytes())
        }
    };
    Some(Fragment { stream: Stream::named(stream.as_bytes())?, at_ms: read_time(&time)?, text, is_last })
}

fn read_time(text: &str) -> Option<i64> {
    // Without a T it is a time, but none of these runtimes'.
    (text.as_bytes().get(10) == Some(&b'T')).then(|| text.parse::<Timestamp>().ok())?.map(Timestamp::as_millisecond)
}

fn split_at_space(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', line)?;
    Some((&line[..at], &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MS: i64 = 1_769_854_272_123;

    /// Stream, text, and whether the line ends there.
    type Expected = Option<(Stream, &'static str, bool)>;

    #[test]
    fn lines_are_read_as_the_table_says() {
        use Container::{Auto, Cri, Docker};
        let time = "2026-01-31T10:11:12.123456789Z";
        let docker =
            |log: &str, more: &str| format!("{{\"log\":\"{log}\",\"stream\":\"stderr\"{more},\"time\":\"{time}\"}}");
        let zoned = "2026-01-31T12:11:12.123456789+02:00";
        let cases: Vec<(Container, String, Expected)> = vec![
            (Cri, format!("{time} stdout F a  text"), Some((Stream::Stdout, "a  text", true))),
            (Cri, format!("{time} stderr P half "), Some((Stream::Stderr, "half ", false))),
            (Cri, format!("{zoned} stdout P:tag:more x"), Some((Stream::Stdout, "x", false))),
            (Cri, format!("{time} stdout F "), Some((Stream::Stdout, "", true))),
            (Cri, format!("{time} stdout F"), Some((Stream::Stdout, "", true))),
            (Cri, format!("{time} stdout X text"), None),
            (Cri, format!("{time} stdin F text"), None),
            (Cri, format!("{time} stdout"), None),
            (Cri, "2026-01-31 stdout F text".into(), None),
            (Cri, "2026-13-31T10:11:12Z stdout F text".into(), None),
            (Cri, "any line".into(), None),
            (Cri, String::new(), None),
            (Cri, docker("text\\n", ""), None),
            (Docker, docker("text\\n", ""), Some((Stream::Stderr, "text", true))),
            (Docker, docker("half", ""), Some((Stream::Stderr, "half", false))),
            (Docker, docker("\\\"\\u00fc\\t\\r\\n", ""), Some((Stream::Stderr, "\"ü\t\r", true))),
            (Docker, docker("a\\nb\\n", ",\"attrs\":{\"tag\":\"x\"}"), Some((Stream::Stderr, "a\nb", true))),
            (Docker, docker("\\n", ""), Some((Stream::Stderr, "", true))),
            (Docker, "{\"log\":\"text\\n\"}".into(), None),
            (Docker, "{\"log\":\"text".into(), None),
            (Docker, format!("{time} stdout F text"), None),
            (Auto, docker("text\\n", ""), Some((Stream::Stderr, "text", true))),
            (Auto, format!("{time} stdout F {{}}"), Some((Stream::Stdout, "{}", true))),
        ];
        for (container, line, expected) in cases {
            let found = container.read(line.as_bytes());
            let expected = expected.map(|(stream, text, is_last)| Fragment {
                stream,
                at_ms: AT_MS,
                text: Cow::Borrowed(text.as_bytes()),
                is_last,
            });
            assert_eq!(found, expected, "{container:?} {line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass_through_cri_and_plain_text_is_not_copied() {
        let line = b"2026-01-31T10:11:12Z stdout F \xff\x00\xfe";
        assert_eq!(Container::Cri.read(line).unwrap().text, &b"\xff\x00\xfe"[..]);
        let line = br#"{"log":"plain","stream":"stdout","time":"2026-01-31T10:11:12Z"}"#;
        assert!(matches!(Container::Docker.read(line).unwrap().text, Cow::Borrowed(b"plain")));
    }
}
