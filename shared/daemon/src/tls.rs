//! The process's one choice of cryptography: ring. And what to do when a client comes to no TLS with a server.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Makes ring the process's crypto provider. Call it first thing in `main` and in tests that make HTTP clients; further
/// calls change nothing. Clients built without it refuse to start.
pub fn use_ring() {
    // An error says that a provider is there already, which is all that is wanted.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
}

/// Says why a client of ours came to no TLS with a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The collector's certificate is signed by an authority that is not trusted here.
    UnknownAuthority,
    /// It has ended.
    OutOfDate,
    /// It begins later.
    NotYetValid,
    /// It is for other names.
    OtherName,
    /// It is of no use for another reason.
    Unusable,
    /// What answers there is no TLS.
    NoTls,
    /// The collector asks for a certificate, and there is none.
    CertificateWanted,
    /// The collector refuses the certificate it was shown.
    CertificateRefused,
    /// The two ends have no version or cipher in common.
    NothingInCommon,
    /// This machine knows no authority, and none is named.
    NoAuthorities,
}

/// Names what a person can change about it: keys of a configuration, or flags.
#[derive(Debug, Clone, Copy)]
pub struct Knobs {
    /// Where the authorities are named that are trusted.
    pub ca_file: &'static str,
    /// Where our own certificate is named.
    pub cert_file: &'static str,
    /// Where the collector's address is.
    pub url: &'static str,
}

impl Trouble {
    /// Finds out why, from an error of an HTTP client or one below it; `None` if it is not about TLS.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(tls) = within(error) {
                return Self::of_tls(tls);
            }
            next = error.source();
        }
        None
    }

    fn of_tls(error: &Error) -> Option<Self> {
        Some(match error {
            Error::InvalidCertificate(error) => match error {
                // An authority that was made anew under its old name signs otherwise.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::OutOfDate,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                _ => Self::Unusable,
            },
            Error::InvalidMessage(_) => Self::NoTls,
            Error::AlertReceived(AlertDescription::CertificateRequired) => Self::CertificateWanted,
            Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError,
            ) => Self::CertificateRefused,
            Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity)
            | Error::PeerIncompatible(_) => Self::NothingInCommon,
            // rustls-platform-verifier has no better way to say it.
            Error::General(text) if text.starts_with("No CA certificates") => Self::NoAuthorities,
            _ => return None,
        })
    }

    /// Says in a sentence what to do.
    pub fn advice(self, knobs: &Knobs) -> String {
        let Knobs { ca_file, cert_file, url } = knobs;
        match self {
            Self::UnknownAuthority => format!(
                "the collector's certificate is signed by an authority that is not trusted here; if it is the right collector, name the authority's certificate with {ca_file}"
            ),
            Self::OutOfDate => "the collector's certificate is out of date (or this machine's clock is wrong); put a renewed one into its http.tls.cert_file, \
                which needs no restart"
                .to_owned(),
            Self::NotYetValid => "the collector's certificate is not valid yet; is this machine's clock right?".to_owned(),
            Self::OtherName => format!(
                "the collector's certificate is for other names than the one in {url}; use a name it has, or issue one with this name (subjectAltName)"
            ),
            Self::Unusable => "the collector's certificate cannot be used; see its http.tls.cert_file".to_owned(),
            Self::NoTls => format!("what answers there does not speak TLS; use http:// in {url}, or set http.tls of the collector"),
            Self::CertificateWanted => format!("the collector lets in only who shows a certificate; set {cert_file}"),
            Self::CertificateRefused => format!(
                "the collector refuses the certificate of {cert_file}; it must be signed by an authority in the collector's http.tls.client_ca_file, not out of \
                 date, and not revoked"
            ),
            Self::NoAuthorities => format!(
                "this machine has no certificates of authorities, so that https:// cannot be trusted; install them (the package ca-certificates), or name \
                 the certificate of the collector's authority with {ca_file}"
            ),
            Self::NothingInCommon => "no version of TLS and no cipher is known to both; 1.2 and 1.3 are spoken here".to_owned(),
        }
    }
}

/// Finds an error of TLS that I/O errors wrap: it is no source of theirs.
fn within<'e>(mut error: &'e (dyn StdError + 'static)) -> Option<&'e Error> {
    loop {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(tls);
        }
        error = error.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sending failed")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_reason_is_found_below_other_errors_and_comes_with_what_to_do() {
        let knobs = Knobs { ca_file: "--ca-file", cert_file: "--cert-file", url: "--url" };
        let cases = [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "--ca-file"),
            (Error::InvalidCertificate(CertificateError::Expired), "out of date"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "--url"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "set --cert-file"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "client_ca_file"),
            (Error::General("No CA certificates were loaded from the system".into()), "ca-certificates"),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "use http://"),
        ];
        for (error, words) in cases {
            let outer = Outer(io::Error::other(error));
            let advice = Trouble::of(&outer).unwrap().advice(&knobs);
            assert!(advice.contains(words), "{words} in {advice}");
        }
        let twice = io::Error::other(io::Error::other(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
        assert_eq!(Trouble::of(&Outer(twice)), Some(Trouble::UnknownAuthority));
        assert_eq!(Trouble::of(&Outer(io::ErrorKind::ConnectionRefused.into())), None);
    }
}
