//! `[http.tls]`: which certificate the collector shows, and whose it asks for.

use std::path::PathBuf;
use std::time::Duration;

use skidway_daemon::config::Section;

use crate::listen::tls::Certificates;

/// Configures TLS. A file may be a credential of the service manager: `credential:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM: the collector's certificate, then those that lead to its authority.
    pub cert_file: PathBuf,
    /// PEM: its private key, without a passphrase.
    pub key_file: PathBuf,
    /// Whether clients show certificates; they are not asked for any.
    pub client_auth: ClientAuth,
    /// PEM: the authorities of clients' certificates; there unless `client_auth` is none.
    pub client_ca_file: Option<PathBuf>,
    /// PEM: lists of certificates that were revoked; none.
    pub client_crl_file: Option<PathBuf>,
    /// How often the files are looked at for changes; 1 min. SIGHUP looks at once.
    pub reload_interval: Duration,
}

/// Says whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may: one that is shown must be good.
    Optional,
    /// They must.
    Required,
}

impl TlsConfig {
    /// Reads `[http.tls]`, and whether its files can be used; `None` if there is no such table, or not all it needs.
    pub(super) fn read(http: &Section<'_>) -> Option<Self> {
        let tls = http.section("tls");
        if !tls.is_present() {
            return None;
        }
        let words =
            [("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
        let client_auth = tls.choice("client_auth", ClientAuth::None, &words);
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        let reload_interval = tls.within("reload_interval", minute, Duration::from_secs(1)..=day);
        let (cert_file, key_file) = (tls.required("cert_file"), tls.required("key_file"));
        let (client_ca_file, client_crl_file) = (tls.optional("client_ca_file"), tls.optional("client_crl_file"));
        match (client_auth, &client_ca_file) {
            (ClientAuth::None, Some(_)) => {
                tls.mistake(
                    "client_ca_file",
                    "is of no use while client_auth is \"none\"; set \"optional\" or \"required\"",
                );
            }
            (ClientAuth::Optional | ClientAuth::Required, None) => {
                tls.mistake("client_ca_file", "is missing: client_auth needs the authorities of clients' certificates");
                return None;
            }
            _ => {}
        }
        if client_auth == ClientAuth::None && client_crl_file.is_some() {
            tls.mistake("client_crl_file", "is of no use while client_auth is \"none\"");
        }
        let (cert_file, key_file) = (cert_file?, key_file?);
        let config = Self { cert_file, key_file, client_auth, client_ca_file, client_crl_file, reload_interval };
        if let Err(error) = Certificates::read(&config) {
            tls.mistake(error.key, format!("{}: {}", error.path.display(), error.reason));
        }
        Some(config)
    }
}
