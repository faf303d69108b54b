//! What an object store did not do, in a line: their errors are pages of XML and addresses, and an operator needs what, why and what to do.

use std::error::Error as _;
use std::io;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// Bounds what is repeated of an error that is not known here.
const CHARACTERS_MAX: usize = 200;

/// Says it in a line.
pub(super) fn explain(error: &Error) -> io::Error {
    let said = error.to_string();
    let answer = Answer::of(&said);
    let shown = answer.to_string();
    match answer.code {
        Some("NoSuchBucket" | "ContainerNotFound") => {
            return io::Error::other(format!("there is no such bucket ({shown}); create it, or correct the url"));
        }
        Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            return io::Error::other(format!("the bucket is in another region ({shown}); set the sink's region"));
        }
        Some("RequestTimeTooSkewed") => {
            return io::Error::other(format!("this machine's clock is wrong ({shown}); set it"));
        }
        _ => {}
    }
    if said.contains("169.254.169.254") || said.contains("metadata.google.internal") {
        let why = "there are no credentials: none in the sink's section, none in the environment, and this machine has no role";
        return io::Error::new(io::ErrorKind::PermissionDenied, why);
    }
    match (error, answer.status) {
        (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => {
            let why = format!("access is denied ({shown}); check the sink's keys and what they are allowed to do");
            io::Error::new(io::ErrorKind::PermissionDenied, why)
        }
        (Error::NotFound { .. }, _) => io::Error::new(io::ErrorKind::NotFound, format!("it is not there ({shown})")),
        (_, Some(_)) => io::Error::other(format!("the store answers {shown}")),
        _ => unreachable_store(error, &said),
    }
}

/// Says why there is no answer at all.
fn unreachable_store(error: &Error, said: &str) -> io::Error {
    let (mut cause, mut kind) = (error.source(), None);
    let mut deepest = None;
    while let Some(error) = cause {
        kind = kind.or_else(|| error.downcast_ref::<HttpError>().map(HttpError::kind));
        deepest = Some(error.to_string());
        cause = error.source();
    }
    match (kind, deepest) {
        (Some(HttpErrorKind::Timeout), _) => io::Error::new(
            io::ErrorKind::TimedOut,
            "the store does not answer in time; check the endpoint and the network",
        ),
        (Some(_), Some(deepest)) => {
            let why = format!("the store cannot be reached: {}; check the endpoint and the network", shorten(&deepest));
            io::Error::new(io::ErrorKind::NotConnected, why)
        }
        _ => io::Error::other(shorten(said)),
    }
}

/// Is what a store answered, as far as its error tells.
struct Answer<'a> {
    status: Option<u16>,
    code: Option<&'a str>,
}

impl<'a> Answer<'a> {
    /// Finds it in the text of an error. The types that hold it are the crate's own.
    fn of(said: &'a str) -> Self {
        let (_, status) = said.split_once("status code: ").unwrap_or_default();
        let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let status = status.get(..3).and_then(|status| status.parse().ok());
        Self { status, code: code.map(|(code, _)| code).filter(|code| code.len() <= CHARACTERS_MAX) }
    }
}

impl std::fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, self.code) {
            (Some(status), Some(code)) => write!(f, "{status} {code}"),
            (Some(status), None) => write!(f, "{status}"),
            (None, Some(code)) => write!(f, "{code}"),
            (None, None) => write!(f, "no reason given"),
        }
    }
}

/// Tells whether the store refuses such a request for good: nothing that another try would change.
pub(super) fn is_refused(error: &Error) -> bool {
    let said = error.to_string();
    let status = Answer::of(&said).status;
    matches!(error, Error::NotImplemented { .. } | Error::NotSupported { .. })
        || status
            .is_some_and(|status| (400..500).contains(&status) && ![408, 409, 429].contains(&status) || status == 501)
}

/// Makes a line of a text.
pub(super) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(said: &str) -> Error {
        Error::Generic { store: "S3", source: said.into() }
    }

    #[test]
    fn an_error_is_a_line_that_says_what_to_do() {
        let page = |status: &str, code: &str| {
            let body =
                format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>long\nwords</Message></Error>");
            generic(&format!(
                "Error performing PUT http://h/b/k in 2ms - Server returned non-2xx status code: {status}: {body}"
            ))
        };
        for (error, expected) in [
            (
                page("404 Not Found", "NoSuchBucket"),
                "there is no such bucket (404 NoSuchBucket); create it, or correct the url",
            ),
            (
                page("404 Not Found", "ContainerNotFound"),
                "there is no such bucket (404 ContainerNotFound); create it, or correct the url",
            ),
            (
                page("403 Forbidden", "SignatureDoesNotMatch"),
                "access is denied (403 SignatureDoesNotMatch); check the sink's keys and what they are allowed to do",
            ),
            (
                page("301 Moved Permanently", "PermanentRedirect"),
                "the bucket is in another region (301 PermanentRedirect); set the sink's region",
            ),
            (page("503 Slow Down", "SlowDown"), "the store answers 503 SlowDown"),
            (generic("Server returned non-2xx status code: 502 Bad Gateway: "), "the store answers 502"),
            (generic("odd\n  words"), "Generic S3 error: odd words"),
        ] {
            assert_eq!(explain(&error).to_string(), expected);
        }
        assert!(explain(&generic(&"x".repeat(1000))).to_string().len() < 220);
    }

    #[test]
    fn a_refusal_is_told_from_what_another_try_may_do() {
        let status = |status: &str| generic(&format!("non-2xx status code: {status}: "));
        for (error, refused) in [
            ("403 Forbidden", true),
            ("405 Method Not Allowed", true),
            ("501 Not Implemented", true),
            ("503 Slow Down", false),
            ("429 Too Many", false),
            ("409 Conflict", false),
        ] {
            assert_eq!(is_refused(&status(error)), refused, "{error}");
        }
        assert!(!is_refused(&generic("connection reset")));
    }
}
