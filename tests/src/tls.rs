//! Certificates made on the spot, and both sides of TLS for the tests' own use.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::Site;

/// Numbers authorities and certificates: each has a name and a serial number of its own.
static ISSUED: AtomicU64 = AtomicU64::new(1);

/// Issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
    der: CertificateDer<'static>,
}

/// Holds a certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Its serial number.
    pub serial: u64,
}

impl Authority {
    /// Makes a new authority that nobody trusts yet.
    ///
    /// # Panics
    /// When the machine has no random numbers.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", number()));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// Issues a certificate for a host name or address.
    ///
    /// # Panics
    /// When it is no name.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_until(name, 4096)
    }

    /// Issues one that ended in 2020.
    ///
    /// # Panics
    /// When it is no name.
    pub fn issue_ended(&self, name: &str) -> Issued {
        self.issue_until(name, 2020)
    }

    fn issue_until(&self, name: &str, year: i32) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let serial = number();
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 1, 1);
        params.serial_number = Some(SerialNumber::from(serial));
        // OpenSSL takes a certificate for self-signed if it and its issuer have one name.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { certificate: certificate.pem(), key: key.serialize_pem(), serial }
    }

    /// Gives a list of these as revoked, in PEM.
    ///
    /// # Panics
    /// When the machine has no random numbers.
    pub fn revoke(&self, issued: &[&Issued]) -> String {
        let revoked = |issued: &&Issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(number()),
            issuing_distribution_point: None,
            revoked_certs: issued.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("a list in PEM")
    }

    /// Writes what an agent needs that trusts this authority and is known to it: `ca.pem`, `agent.pem` and `agent-key.pem`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn equip(&self, site: &Site) -> [PathBuf; 3] {
        self.write(site, "agent", &self.issue("agent"))
    }

    /// Writes what a server at 127.0.0.1 needs that shows a certificate of this authority: `ca.pem`, `server.pem`, `server-key.pem`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn equip_server(&self, site: &Site) -> [PathBuf; 3] {
        self.write(site, "server", &self.issue("127.0.0.1"))
    }

    /// Writes `ca.pem`, and a certificate with its key as `NAME.pem` and `NAME-key.pem`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write(&self, site: &Site, name: &str, issued: &Issued) -> [PathBuf; 3] {
        [
            site.write("ca.pem", &self.pem),
            site.write(&format!("{name}.pem"), &issued.certificate),
            site.write(&format!("{name}-key.pem"), &issued.key),
        ]
    }

    fn server(&self) -> Arc<ServerConfig> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate of ours");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&ring));
        let issued = self.issue("localhost");
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("a certificate of ours");
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key of ours");
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let config = config.expect("the usual versions");
        let config = config.with_client_cert_verifier(clients.build().expect("roots"));
        Arc::new(config.with_single_cert(vec![certificate], key).expect("a certificate of ours"))
    }
}

fn number() -> u64 {
    ISSUED.fetch_add(1, Ordering::Relaxed)
}

/// Is the server's end of TLS; its certificate, and the authority it takes clients' from, can be exchanged.
#[derive(Debug)]
pub struct Terminator(Mutex<Arc<ServerConfig>>);

impl Terminator {
    /// Shows a certificate of the authority for `localhost`, and takes only clients of it.
    ///
    /// # Panics
    /// When the machine has no random numbers.
    pub fn new(authority: &Authority) -> Arc<Self> {
        Arc::new(Self(Mutex::new(authority.server())))
    }

    /// Does so from the next connection on with another authority.
    ///
    /// # Panics
    /// As [`Terminator::new`].
    pub fn exchange(&self, authority: &Authority) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = authority.server();
    }

    pub(crate) fn accept(&self, client: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        let config = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        StreamOwned::new(ServerConnection::new(config).expect("a configuration of ours"), client)
    }
}
