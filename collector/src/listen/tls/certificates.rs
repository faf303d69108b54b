//! The files of `[http.tls]`, read as they are at one moment.
//!
//! What cannot be used is told with the key that names the file, the file, the reason and what to do.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use skidway_daemon::secret;

use super::identity;
use crate::config::{ClientAuth, TlsConfig};

/// Bounds a file; the bundle of all public authorities is a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bounds a list of what was revoked, which grows with every revocation.
const CRL_BYTES_MAX: u64 = 16 << 20;
/// The one protocol spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// Tells which file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("http.tls.{key}: {}: {reason}", .path.display())]
pub struct TlsError {
    /// The key that names it, in `[http.tls]`.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why, and what to do.
    pub reason: String,
}

/// Holds what the files said.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub(super) server: Arc<ServerConfig>,
    /// When the certificate begins to be valid, in seconds since 1970.
    pub(super) not_before: i64,
    /// When it ends to be.
    pub(super) not_after: i64,
    /// Of the files, taken before they were read.
    pub(super) stamps: Stamps,
}

/// Tells one content of files from another: inode, length, time of modification. `None` for one that is not there.
pub(super) type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

/// Takes the stamps of a configuration's files.
pub(super) fn stamps(config: &TlsConfig) -> Stamps {
    let stamp = |path: &PathBuf| {
        let file = std::fs::metadata(secret::path(path).ok()?).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    let clients = [&config.client_ca_file, &config.client_crl_file].into_iter().flatten();
    [&config.cert_file, &config.key_file].into_iter().chain(clients).map(stamp).collect()
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let stamps = stamps(config);
        let at = |key, path: &Path| Source { key, path: path.to_owned() };
        let (cert, key) = (at("cert_file", &config.cert_file), at("key_file", &config.key_file));
        let chain = cert.certificates("the collector's own first, then those that lead to its authority")?;
        let first = chain.first().expect("there is one, or it would be an error");
        let (not_before, not_after) = identity::validity(first).map_err(|error| cert.error(error))?;
        let private_key = key.private_key()?;

        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let builder = builder.expect("ring has the ciphers of TLS 1.2 and 1.3");
        let builder = match clients(config)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(chain, private_key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => key.error(format!(
                "is not the key of the certificate in {}; `openssl pkey -pubout` and `openssl x509 -noout -pubkey` must print the same",
                config.cert_file.display()
            )),
            error => cert.error(error),
        })?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { server: Arc::new(server), not_before, not_after, stamps })
    }
}

/// Makes what checks clients' certificates; `None` if they are not asked for.
fn clients(config: &TlsConfig) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(path) = config.client_ca_file.as_ref().filter(|_| config.client_auth != ClientAuth::None) else {
        return Ok(None);
    };
    let authorities = Source { key: "client_ca_file", path: path.clone() };
    let mut roots = RootCertStore::empty();
    for certificate in authorities.certificates("those of the authorities that sign clients' certificates")? {
        roots.add(certificate).map_err(|error| authorities.error(format!("holds no authority: {error}")))?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring);
    let mut named = authorities;
    if let Some(path) = &config.client_crl_file {
        named = Source { key: "client_crl_file", path: path.clone() };
        // An authority without a list, a new one say, has revoked nothing.
        verifier = verifier.with_crls(named.revocations()?).only_check_end_entity_revocation();
        verifier = verifier.allow_unknown_revocation_status();
    }
    if config.client_auth == ClientAuth::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    verifier.build().map(Some).map_err(|error| named.error(error))
}

/// Is a file and the key that names it.
struct Source {
    key: &'static str,
    path: PathBuf,
}

impl Source {
    fn error(&self, reason: impl ToString) -> TlsError {
        TlsError { key: self.key, path: self.path.clone(), reason: reason.to_string() }
    }

    fn read(&self, bytes_max: u64) -> Result<Vec<u8>, TlsError> {
        let path = secret::path(&self.path).map_err(|error| self.error(error))?;
        let unreadable = |error: std::io::Error| self.error(format!("cannot be read by the collector's user: {error}"));
        let mut bytes = Vec::new();
        File::open(path).map_err(unreadable)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > bytes_max {
            return Err(self.error(format!("is longer than {bytes_max} bytes")));
        }
        Ok(bytes)
    }

    fn certificates(&self, which: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let pem = self.read(FILE_BYTES_MAX)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = read.map_err(|error| self.error(format!("is not PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(self.error(format!("holds no certificate; expected -----BEGIN CERTIFICATE-----: {which}")));
        }
        Ok(certificates)
    }

    fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let pem = self.read(CRL_BYTES_MAX)?;
        let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        let lists = read.map_err(|error| self.error(format!("is not PEM: {error}")))?;
        if lists.is_empty() {
            return Err(
                self.error("holds no list; expected -----BEGIN X509 CRL-----, as `openssl ca -gencrl` writes it")
            );
        }
        Ok(lists)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = self.read(FILE_BYTES_MAX)?;
        if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
            return Err(self.error("is encrypted; `openssl pkey -in FILE -out NEW` writes it without a passphrase. Let only the collector's user read it"));
        }
        // What a parser says of a key could show some of it.
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            self.error("holds no private key; expected -----BEGIN PRIVATE KEY----- (or RSA, EC PRIVATE KEY)")
        })
    }
}
