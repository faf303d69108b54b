//! Certificates made on the spot, and the server's side of TLS, which asks the agent for its own certificate.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::Site;

/// Issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
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
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    fn issue(&self, name: &str) -> (String, CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        // OpenSSL takes a certificate for self-signed if it and its issuer have one name.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), certificate.der().clone(), key)
    }

    /// Writes what an agent needs that trusts this authority and is known to it: `ca.pem`, `agent.pem` and `agent-key.pem`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn equip(&self, site: &Site) -> [PathBuf; 3] {
        let (certificate, _, key) = self.issue("agent");
        [
            site.write("ca.pem", &self.pem),
            site.write("agent.pem", certificate),
            site.write("agent-key.pem", key.serialize_pem()),
        ]
    }

    /// Writes what a server at 127.0.0.1 needs that shows a certificate of this authority: `ca.pem`, `server.pem`, `server-key.pem`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn equip_server(&self, site: &Site) -> [PathBuf; 3] {
        let (certificate, _, key) = self.issue("127.0.0.1");
        [
            site.write("ca.pem", &self.pem),
            site.write("server.pem", certificate),
            site.write("server-key.pem", key.serialize_pem()),
        ]
    }

    fn server(&self) -> Arc<ServerConfig> {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate of ours");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&ring));
        let (_, certificate, key) = self.issue("localhost");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let config = config.expect("the usual versions");
        let config = config.with_client_cert_verifier(clients.build().expect("roots"));
        Arc::new(config.with_single_cert(vec![certificate], key).expect("a certificate of ours"))
    }
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
