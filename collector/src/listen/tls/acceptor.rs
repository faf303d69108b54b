//! The server's end of TLS: handshakes, with the certificates of the moment.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use skidway_daemon::secret;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificates::{Certificates, Stamps, TlsError, stamps};
use super::identity;
use crate::clock::now_ms;
use crate::config::TlsConfig;
use crate::listen::http::ClientCertificate;
use crate::metrics;

/// A certificate that ends sooner is spoken of.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Passes between two failed handshakes that are logged for all to see.
const SILENCE: Duration = Duration::from_secs(60);

/// Opens connections in TLS; its certificates can be exchanged at any time.
#[derive(Debug)]
pub struct Acceptor {
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: TlsConfig,
    server: Arc<ServerConfig>,
    /// Of the files when they were read last, whatever came of it.
    stamps: Stamps,
    /// When a failed handshake was logged for all to see.
    spoke: Option<Instant>,
}

impl Current {
    fn may_speak(&mut self, now: Instant) -> bool {
        let may = self.spoke.is_none_or(|spoke| now.duration_since(spoke) >= SILENCE);
        if may {
            self.spoke = Some(now);
        }
        may
    }
}

/// Is a connection after its beginning.
#[derive(Debug)]
pub enum Opened {
    /// In TLS, with the name that the client's certificate gives it.
    Tls(Box<TlsStream<TcpStream>>, Option<ClientCertificate>),
    /// Somebody speaks HTTP without TLS here; nothing was read of it.
    Plain(TcpStream),
}

impl Acceptor {
    /// Reads the certificates.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn open(config: TlsConfig) -> Result<Self, TlsError> {
        let read = Certificates::read(&config)?;
        tell(&read, &config);
        Ok(Self { current: Mutex::new(Current { config, server: read.server, stamps: read.stamps, spoke: None }) })
    }

    /// Gives how often to look at the files.
    pub fn interval(&self) -> Duration {
        self.lock().config.reload_interval
    }

    /// Reads the files again if they changed since they were read. Those that cannot be used change nothing, which is logged and counted.
    pub fn look(&self) {
        let (config, old) = {
            let current = self.lock();
            (current.config.clone(), current.stamps.clone())
        };
        if stamps(&config) != old {
            self.exchange(config);
        }
    }

    /// Reads the files of a configuration, which may be another one. Those that cannot be used change nothing, which is logged and counted.
    pub fn exchange(&self, config: TlsConfig) {
        let before = stamps(&config);
        match Certificates::read(&config).and_then(|read| still_valid(read, &config)) {
            Ok(read) => {
                tell(&read, &config);
                let mut current = self.lock();
                (current.config, current.server, current.stamps) = (config, read.server, read.stamps);
                drop(current);
                tracing::info!("new connections get the certificates that were read; those that are open go on");
            }
            Err(error) => {
                metrics::tls_reload_failed();
                tracing::error!(%error, "keeping the certificates read before");
                self.lock().stamps = before;
            }
        }
    }

    /// Makes the handshake. One who speaks HTTP is found out by the first byte.
    ///
    /// # Errors
    /// It fails, which is counted and logged: one of few reasons.
    pub async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        limit: Duration,
    ) -> Result<Opened, &'static str> {
        let acceptor = TlsAcceptor::from(self.lock().server.clone());
        let opened =
            timeout(limit, open(stream, acceptor)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.map_err(|error| self.failed(peer, &error))
    }

    /// Counts a failed handshake and logs it, but not every one: strangers must not fill the log. Gives the reason.
    fn failed(&self, peer: SocketAddr, error: &io::Error) -> &'static str {
        let reason = kind(error);
        metrics::tls_handshake_failed(reason);
        let has_gone = matches!(reason, "closed" | "timed-out");
        if !has_gone && self.lock().may_speak(Instant::now()) {
            tracing::warn!(%peer, reason, %error, "a client came to no TLS; others of the next minute are told at level debug");
        } else {
            tracing::debug!(%peer, reason, %error, "a client came to no TLS");
        }
        reason
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // Methods are capital letters; a handshake begins with 22.
    if first[0].is_ascii_uppercase() {
        metrics::tls_handshake_failed("plain-http");
        return Ok(Opened::Plain(stream));
    }
    let stream = acceptor.accept(stream).await?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first).and_then(identity::name);
    Ok(Opened::Tls(Box::new(stream), certificate.map(|name| ClientCertificate(name.into()))))
}

/// Gives a failed handshake one of few names.
fn kind(error: &io::Error) -> &'static str {
    use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented) => "no-certificate",
        Some(Error::InvalidCertificate(CertificateError::Revoked)) => "revoked-certificate",
        Some(Error::InvalidCertificate(_)) => "bad-certificate",
        Some(Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        )) => "old-version",
        Some(Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        )) => "our-certificate-refused",
        Some(Error::InvalidMessage(_)) => "not-tls",
        _ if error.kind() == io::ErrorKind::TimedOut => "timed-out",
        _ if error.kind() == io::ErrorKind::UnexpectedEof => "closed",
        _ => "other",
    }
}

/// Refuses new files whose certificate is out of date: the old one cannot be worse.
fn still_valid(read: Certificates, config: &TlsConfig) -> Result<Certificates, TlsError> {
    if read.not_after >= now_ms() / 1000 {
        return Ok(read);
    }
    let reason =
        format!("holds a certificate that is out of date since {}; put a renewed one there", date(read.not_after));
    Err(TlsError { key: "cert_file", path: config.cert_file.clone(), reason })
}

/// Shows how long the certificate lasts, and says so if that is not long, or if everybody can read the key.
fn tell(read: &Certificates, config: &TlsConfig) {
    metrics::tls_certificate(read.not_after);
    secret::warn_if_exposed("http.tls.key_file", &config.key_file);
    let now = now_ms() / 1000;
    let (path, until) = (config.cert_file.display(), date(read.not_after));
    if read.not_after < now {
        tracing::error!(%path, until, "the certificate is out of date, and clients refuse it; put a renewed one there");
    } else if read.not_before > now {
        tracing::error!(%path, from = date(read.not_before), "the certificate is not valid yet, and clients refuse it; is the clock right?");
    } else if read.not_after - now < ENDS_SOON.as_secs() as i64 {
        tracing::warn!(%path, until, "the certificate ends soon; put a renewed one there, which needs no restart");
    } else {
        tracing::info!(%path, until, "the certificate was read");
    }
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
}
