//! What must not happen by mistake: a port that other machines reach, and nothing that protects it.

use std::fmt;
use std::net::SocketAddr;

use super::{ClientAuth, Config};
use crate::access::Mode;

/// Names a protection that is missing where other machines reach the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {
    /// No TLS: what is sent can be read and changed on its way.
    Unencrypted(SocketAddr),
    /// Nobody is asked who they are.
    Unauthenticated(SocketAddr),
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unencrypted(address) => write!(
                f,
                "other machines reach {address}, and without TLS whoever is on the way can read and change what is sent. Set http.tls.cert_file and \
                 http.tls.key_file, or listen on 127.0.0.1; if something else encrypts, such as a proxy or a VPN, set http.allow_unencrypted = true"
            ),
            Self::Unauthenticated(address) => write!(
                f,
                "other machines reach {address}, and whoever does may read, write and delete every topic. Set access.mode = \"tokens\", or \
                 http.tls.client_auth = \"required\", or listen on 127.0.0.1; if that is what you want, set access.allow_unauthenticated = true"
            ),
        }
    }
}

impl Config {
    /// Tells what is missing for the port to be opened. Loopback needs nothing: who is on this machine is let in by it.
    pub fn exposed(&self) -> Vec<Exposed> {
        let address = self.http.listen;
        if address.ip().to_canonical().is_loopback() {
            return Vec::new();
        }
        let asks_for_certificates = self.http.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
        let encrypts = self.http.tls.is_some() || self.http.allow_unencrypted;
        let asks_for_tokens = self.access.mode == Mode::Tokens;
        let authenticates = asks_for_certificates || asks_for_tokens || self.access.allow_unauthenticated;
        let mut exposed = Vec::new();
        if !encrypts {
            exposed.push(Exposed::Unencrypted(address));
        }
        if !authenticates {
            exposed.push(Exposed::Unauthenticated(address));
        }
        exposed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::TlsConfig;

    const OUTSIDE: [&str; 5] =
        ["0.0.0.0:7070", "[::]:7070", "10.0.0.1:1", "[2001:db8::1]:7070", "[::ffff:192.0.2.1]:7070"];
    const LOOPBACK: [&str; 4] = ["127.0.0.1:7070", "127.8.9.1:0", "[::1]:7070", "[::ffff:127.0.0.1]:7070"];

    /// Counts what is missing: `(TLS, authentication)`.
    fn missing(listen: &str, tls: Option<ClientAuth>, unencrypted: bool, unauthenticated: bool) -> (bool, bool) {
        let mut config = Config::default();
        config.http.listen = listen.parse().unwrap();
        config.http.allow_unencrypted = unencrypted;
        config.access.allow_unauthenticated = unauthenticated;
        config.http.tls = tls.map(|client_auth| TlsConfig {
            cert_file: "c".into(),
            key_file: "k".into(),
            client_auth,
            client_ca_file: None,
            client_crl_file: None,
            reload_interval: Duration::from_secs(60),
        });
        let exposed = config.exposed();
        let address = config.http.listen;
        (exposed.contains(&Exposed::Unencrypted(address)), exposed.contains(&Exposed::Unauthenticated(address)))
    }

    #[test]
    fn what_other_machines_reach_is_protected_or_declared_open() {
        let (none, optional, required) =
            (Some(ClientAuth::None), Some(ClientAuth::Optional), Some(ClientAuth::Required));
        let cases = [
            (None, false, false, (true, true)),
            (None, true, false, (false, true)),
            (None, false, true, (true, false)),
            (None, true, true, (false, false)),
            (none, false, false, (false, true)),
            (none, false, true, (false, false)),
            // Who shows no certificate is let in.
            (optional, false, false, (false, true)),
            (required, false, false, (false, false)),
        ];
        for (tls, unencrypted, unauthenticated, expected) in cases {
            for listen in OUTSIDE {
                let found = missing(listen, tls, unencrypted, unauthenticated);
                assert_eq!(found, expected, "{listen} {tls:?} {unencrypted} {unauthenticated}");
            }
            for listen in LOOPBACK {
                assert_eq!(missing(listen, tls, unencrypted, unauthenticated), (false, false), "{listen}");
            }
        }
    }

    #[test]
    fn tokens_are_asked_for_or_it_is_said_that_nothing_is() {
        let mut config = Config::default();
        config.http.listen = OUTSIDE[0].parse().unwrap();
        config.http.allow_unencrypted = true;
        assert_eq!(config.exposed().len(), 1);
        config.access.mode = Mode::Tokens;
        assert_eq!(config.exposed(), []);
    }

    #[test]
    fn the_message_names_what_to_set() {
        let address = "0.0.0.0:7070".parse().unwrap();
        let text = Exposed::Unencrypted(address).to_string();
        assert!(text.contains("http.tls.cert_file") && text.contains("http.allow_unencrypted = true"), "{text}");
        let text = Exposed::Unauthenticated(address).to_string();
        assert!(
            text.contains("access.mode = \"tokens\"") && text.contains("access.allow_unauthenticated = true"),
            "{text}"
        );
    }
}
