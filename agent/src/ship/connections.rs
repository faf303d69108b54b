//! The HTTP client and its connections, made anew now and then: certificates exchanged on disk are used and a host name is looked up again
//! without a restart.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Certificate, Client, Identity};
use skidway_daemon::secret;
use skidway_daemon::tls::{Knobs, Trouble};

use crate::config::{Collector, Tls};
use crate::error::AgentError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No connection is used for longer: its host's name may lead elsewhere by now, its certificate may be out of date.
const AGE_MAX: Duration = Duration::from_secs(300);

/// Names what a person can change when there is no TLS with a collector.
pub(super) const KNOBS: Knobs =
    Knobs { ca_file: "collector.tls.ca_file", cert_file: "collector.tls.cert_file", url: "collector.urls" };

/// Gives connections to the collector's doors.
#[derive(Debug)]
pub(super) struct Connections {
    request_timeout: Duration,
    tls: Tls,
    /// Some door is https://.
    is_encrypted: bool,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    client: Client,
    since: Instant,
    /// Of the files when they were read last.
    stamps: Vec<Stamp>,
    /// A request was not answered, or not let in, since the files were looked at.
    has_failed: bool,
}

/// Tells one content of a file from another: inode, length, time of modification. `None` if it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Connections {
    /// Prepares a client; connects nowhere yet.
    ///
    /// # Errors
    /// A certificate or key file cannot be used, or no authority is trusted where one is needed (halt).
    pub(super) fn new(config: &Collector) -> Result<Self, AgentError> {
        let (request_timeout, tls) = (config.request_timeout, config.tls.clone());
        let is_encrypted = config.urls.iter().any(|url| url.scheme() == "https");
        if let Some(path) = &tls.key_file {
            secret::warn_if_exposed("collector.tls.key_file", path);
        }
        let stamps = stamps(&tls);
        let client = client(request_timeout, &tls, is_encrypted)?;
        let current = Mutex::new(Current { client, since: Instant::now(), stamps, has_failed: false });
        Ok(Self { request_timeout, tls, is_encrypted, current })
    }

    /// Gives the client to ask with: another one if the files of this one have changed, or its time is over.
    pub(super) fn client(&self) -> Client {
        let mut current = self.lock();
        let is_old = current.since.elapsed() >= AGE_MAX;
        if is_old || std::mem::take(&mut current.has_failed) {
            let stamps = stamps(&self.tls);
            if is_old || stamps != current.stamps {
                (current.since, current.stamps) = (Instant::now(), stamps);
                match client(self.request_timeout, &self.tls, self.is_encrypted) {
                    Ok(client) => current.client = client,
                    Err(error) => tracing::error!(%error, "keeping the certificates read before"),
                }
            }
        }
        current.client.clone()
    }

    /// Notes that a request was not answered, or not let in: the certificates may be to blame.
    pub(super) fn has_failed(&self) {
        self.lock().has_failed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(request_timeout: Duration, tls: &Tls, is_encrypted: bool) -> Result<Client, AgentError> {
    let mut client = Client::builder()
        .http1_only()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(request_timeout)
        .tcp_nodelay(true);
    if let Some(path) = &tls.ca_file {
        let key = "collector.tls.ca_file";
        let bundle = Certificate::from_pem_bundle(&read(key, path)?).map_err(|error| unusable(key, path, error))?;
        if bundle.is_empty() {
            return Err(unusable(key, path, "holds no certificate; expected -----BEGIN CERTIFICATE-----"));
        }
        client = client.tls_certs_only(bundle);
    } else if !is_encrypted {
        // Without it no client can be made on a machine that has no certificates of authorities, which are not needed.
        client = client.tls_certs_only([]);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let mut pem = read("collector.tls.cert_file", cert)?;
        pem.push(b'\n');
        pem.extend(read("collector.tls.key_file", key)?);
        let identity = Identity::from_pem(&pem);
        client = client.identity(identity.map_err(|error| unusable("collector.tls.cert_file", cert, error))?);
    }
    client.build().map_err(|error| match Trouble::of(&error) {
        Some(trouble) => AgentError::setup("TLS", trouble.advice(&KNOBS)),
        None => AgentError::setup("the HTTP client", error),
    })
}

fn stamps(tls: &Tls) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = std::fs::metadata(secret::path(path).ok()?).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten().map(stamp).collect()
}

/// Reads a file the configuration names under `key`.
///
/// # Errors
/// It cannot be read (halt).
pub(super) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, AgentError> {
    let located = secret::path(path).map_err(|error| unusable(key, path, error))?;
    std::fs::read(located).map_err(|error| unusable(key, path, error))
}

/// Says that such a file is of no use.
pub(super) fn unusable(key: &'static str, path: &Path, error: impl ToString) -> AgentError {
    AgentError::File { key, path: path.to_owned(), reason: error.to_string() }
}
