//! Whom we trust, and who we are: the files named by `--ca-file`, `--cert-file`, `--key-file` and `--token-file`.
//!
//! Read once, before the first request. What is in them is never shown.

use std::path::Path;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use skidway_daemon::secret;

use crate::args::Door;
use crate::client::is_local;
use crate::error::Error;
use crate::output::note;

/// Lets a client trust and show what the files hold. A secret that others can read, or that travels in plain text, is told of.
///
/// # Errors
/// [`Error::Credentials`]: a file that cannot be used.
pub(crate) fn equip(mut client: ClientBuilder, door: &Door, base: &Url) -> Result<ClientBuilder, Error> {
    if let Some(path) = &door.ca_file {
        let flag = "--ca-file";
        let bundle = Certificate::from_pem_bundle(&read(flag, path)?).map_err(|error| unusable(flag, path, error))?;
        if bundle.is_empty() {
            return Err(unusable(flag, path, "it holds no certificate; expected -----BEGIN CERTIFICATE-----"));
        }
        client = client.tls_certs_only(bundle);
    } else if base.scheme() != "https" {
        // Without it no client can be made on a machine that has no certificates of authorities, which are not needed.
        client = client.tls_certs_only([]);
    }
    if let (Some(certificate), Some(key)) = (&door.cert_file, &door.key_file) {
        let mut pem = read("--cert-file", certificate)?;
        pem.push(b'\n');
        pem.extend(read_secret("--key-file", key)?);
        // The words of a parser could show some of the key.
        let identity = Identity::from_pem(&pem);
        let why = "it holds no certificate, or --key-file no private key without a passphrase, both in PEM";
        client = client.identity(identity.map_err(|_| unusable("--cert-file", certificate, why))?);
    }
    if let Some(path) = &door.token_file {
        client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer(path)?)]));
        if base.scheme() == "http" && !is_local(base) {
            note(format_args!("skidway: warning: the token is sent unencrypted; use https:// in --url"));
        }
    }
    Ok(client)
}

fn bearer(path: &Path) -> Result<HeaderValue, Error> {
    let flag = "--token-file";
    let bytes = read_secret(flag, path)?;
    let token = bytes.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(unusable(flag, path, "expected one token and nothing else"));
    }
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
    let mut value = value.map_err(|_| unusable(flag, path, "expected one token and nothing else"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a file that is nobody else's business, and says so if others can read it.
fn read_secret(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read(flag, path)?;
    if let Some(exposure) = secret::exposure(path) {
        note(format_args!("skidway: warning: {exposure}"));
    }
    Ok(bytes)
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let located = secret::path(path).map_err(|error| unusable(flag, path, error))?;
    std::fs::read(located).map_err(|error| unusable(flag, path, error))
}

fn unusable(flag: &'static str, path: &Path, reason: impl ToString) -> Error {
    Error::Credentials { flag, path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "sk_abc.def\n").unwrap();
        let value = bearer(&path).unwrap();
        assert_eq!(value, "Bearer sk_abc.def");
        assert!(!format!("{value:?}").contains("abc"));
        for text in ["", "  \n", "a b", "secret\nsecret"] {
            std::fs::write(&path, text).unwrap();
            let error = bearer(&path).unwrap_err().to_string();
            assert!(error.contains("--token-file") && !error.contains("secret"), "{error}");
        }
        let error = bearer(&folder.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("No such file"), "{error}");
    }
}
