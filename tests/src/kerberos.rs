//! A Kerberos KDC on this machine: Hadoop's MiniKdc, with the keys of HDFS and of a user.

use std::path::PathBuf;
use std::time::Duration;

use crate::hadoop::{Hadoop, Tickets, tools};
use crate::program::{Program, free_port};
use crate::site::Site;
use crate::wait;

const KDC: &str = "org.apache.hadoop.minikdc.MiniKdc";

pub(crate) const REALM: &str = "SKIDWAY.TEST";

/// Holds a running KDC.
#[derive(Debug)]
pub struct Kerberos {
    folder: PathBuf,
    program: Program,
}

impl Kerberos {
    /// Starts one in the site's folder of this name; its tickets live so long. It knows HDFS's own
    /// names and the user `skidway`; their keys are new.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn started(site: &Site, name: &str, tickets_live: Duration) -> Self {
        let (folder, port) = (site.path(name), free_port());
        let kdc = Hadoop::with_jars(folder.clone(), tools(true).join("kdc-jars"));
        let config = format!(
            "org.name=SKIDWAY\norg.domain=TEST\nkdc.bind.address=127.0.0.1\nkdc.port={port}\ntransport=TCP\ninstance=kdc\ndebug=false\n\
             max.ticket.lifetime=86400000\nmin.ticket.lifetime=1000\n"
        );
        kdc.write("kdc.properties", &config);
        // Clients ask for short tickets. One that is over is of no use at once, and nobody is asked for names.
        let client = format!(
            "[libdefaults]\ndefault_realm = {REALM}\nudp_preference_limit = 1\nclockskew = 1\nticket_lifetime = {}s\ndns_lookup_kdc = false\n\
             dns_lookup_realm = false\ndns_canonicalize_hostname = false\nrdns = false\n\
             [realms]\n{REALM} = {{\n kdc = 127.0.0.1:{port}\n}}\n",
            tickets_live.as_secs()
        );
        kdc.write("client.conf", &client);
        let at = |name: &str| folder.join(name).display().to_string();
        let args = [&at(""), &at("kdc.properties"), &at("all.keytab"), "hdfs/localhost", "HTTP/localhost", "skidway"];
        let mut program = kdc.server("kdc", KDC, &args);
        wait::until("the KDC runs", || {
            assert!(program.runs(), "the KDC ended: {}", program.last_words());
            program.said().contains("MiniKdc Running").then_some(())
        });
        Self { folder, program }
    }

    /// Gives the keytab with all keys.
    pub fn keytab(&self) -> PathBuf {
        self.folder.join("all.keytab")
    }

    /// Gives the configuration of its clients (`krb5.conf`).
    pub fn config(&self) -> PathBuf {
        self.folder.join("client.conf")
    }

    pub(crate) fn tickets(&self) -> Tickets {
        Tickets { config: self.config(), keytab: self.keytab() }
    }

    /// Counts the tickets for HDFS that it has granted to a user.
    pub fn granted(&self, user: &str) -> usize {
        let words = format!("{user}@{REALM} for hdfs/localhost");
        self.program.said().lines().filter(|line| line.contains(&words)).count()
    }
}
