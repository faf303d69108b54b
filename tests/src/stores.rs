//! Object stores for tests: moto speaks S3, azurite is Microsoft's emulator of Azure Blob Storage (`scripts/stores` fetches both). What sinks
//! wrote there is copied into a folder by the clouds' own clients, to be read like any sink's files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::program::{Program, free_port};
use crate::tls::Authority;
use crate::{Site, sink, tools, wait};

/// The emulator's account and key, which everybody knows.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Says whose interface a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// moto.
    S3,
    /// azurite.
    Azure,
}

/// Is a running store with an empty bucket `logs`. It ends when dropped.
#[derive(Debug)]
pub struct Stores {
    cloud: Cloud,
    port: u16,
    server: Program,
    /// Of a store that is reached by HTTPS.
    ca_file: Option<PathBuf>,
}

/// Finds the folder that `scripts/stores` fills, which is run if nobody has told.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tools::folder("SKIDWAY_STORES", "stores", &[]))
}

impl Stores {
    /// Starts one that keeps its files in the site's folder, and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(site: &Site, cloud: Cloud) -> Self {
        Self::start_as(site, cloud, None)
    }

    /// Starts moto with a certificate of this authority, reached by HTTPS alone.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_https(site: &Site, authority: &Authority) -> Self {
        Self::start_as(site, Cloud::S3, Some(authority.equip_server(site)))
    }

    fn start_as(site: &Site, cloud: Cloud, tls: Option<[PathBuf; 3]>) -> Self {
        let port = free_port();
        let command = match cloud {
            Cloud::S3 => {
                let mut moto = Command::new(folder().join("python/bin/moto_server"));
                moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
                if let Some([_, certificate, key]) = &tls {
                    moto.arg("-s").arg("-c").arg(certificate).arg("-k").arg(key);
                }
                moto
            }
            Cloud::Azure => {
                let mut azurite = Command::new(folder().join("node_modules/.bin/azurite-blob"));
                azurite.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent"]);
                azurite.args(["--skipApiVersionCheck", "--disableTelemetry", "--location", &site.text("azurite")]);
                azurite
            }
        };
        let server = Program::spawn("store", command, &site.path("store.log"));
        let ca_file = tls.map(|[authority, ..]| authority);
        let stores = Self { cloud, port, server, ca_file };
        wait::until("the store listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        stores.run("create", Path::new(""));
        stores
    }

    /// Gives the server.
    pub fn program(&self) -> &Program {
        &self.server
    }

    /// Gives its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Gives the keys of a sink that writes below `prefix` of the bucket, by way of `port`.
    pub fn keys(&self, site: &Site, prefix: &str, port: u16) -> String {
        match self.cloud {
            Cloud::S3 => {
                let secret = site.write("s3-secret", "secret");
                let way = match &self.ca_file {
                    None => format!("endpoint = \"http://127.0.0.1:{port}\", allow_http = true"),
                    Some(path) => format!("endpoint = \"https://127.0.0.1:{port}\", ca_file = {path:?}"),
                };
                format!(
                    "url = \"s3://logs/{prefix}\"\ns3 = {{ {way}, access_key_id = \"id\", secret_access_key_file = {secret:?}, \
                     timeout = \"2s\" }}\n"
                )
            }
            Cloud::Azure => {
                let key = site.write("az-key", AZURE_KEY);
                format!(
                    "url = \"az://logs/{prefix}\"\naz = {{ endpoint = \"http://127.0.0.1:{port}/{AZURE_ACCOUNT}\", \
                     account = \"{AZURE_ACCOUNT}\", access_key_file = {key:?}, allow_http = true, timeout = \"2s\" }}\n"
                )
            }
        }
    }

    /// Copies all objects into a folder that is not there yet, and gives the keys of uploads that were never completed.
    ///
    /// # Panics
    /// When the store does not answer.
    pub fn mirror(&self, to: &Path) -> Vec<String> {
        std::fs::create_dir(to).expect("a new folder");
        self.run("mirror", to).lines().map(str::to_owned).collect()
    }

    /// Does so, and checks that nothing temporary of ours is among it: neither hidden objects nor unfinished uploads.
    ///
    /// # Panics
    /// When there is.
    pub fn mirror_clean(&self, to: &Path) {
        let mut unfinished = self.mirror(to);
        unfinished.retain(|key| !key.ends_with("/theirs"));
        assert!(unfinished.is_empty(), "uploads are left: {unfinished:?}");
        let hidden: Vec<_> =
            sink::files(to).into_iter().filter(|path| path.to_string_lossy().contains(".skidway-")).collect();
        assert!(hidden.is_empty(), "hidden objects are left: {hidden:?}");
    }

    /// Leaves below `prefix` what a sink `archive` may leave when it is killed, and on S3 somebody else's unfinished upload, `theirs`.
    ///
    /// # Panics
    /// When the store does not answer.
    pub fn litter(&self, prefix: &str) {
        self.run("litter", Path::new(prefix));
    }

    /// Deletes the first object below a prefix, and puts another one in the second's place.
    ///
    /// # Panics
    /// When the store does not answer.
    pub fn harm(&self, prefix: &str) {
        self.run("harm", Path::new(prefix));
    }

    fn run(&self, command: &str, argument: &Path) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stores.py");
        let (name, path) = match self.cloud {
            Cloud::S3 => ("s3", String::new()),
            Cloud::Azure => ("az", format!("/{AZURE_ACCOUNT}")),
        };
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://127.0.0.1:{}{path}", self.port);
        let mut python = Command::new(folder().join("python/bin/python"));
        python.arg(script).args([name, &endpoint, command]).arg(argument).env("NO_PROXY", "*");
        self.ca_file.iter().for_each(|path| _ = python.env("AWS_CA_BUNDLE", path));
        let said = python.stderr(Stdio::inherit()).output().expect("Python runs");
        assert!(said.status.success(), "stores.py {name} {command} fails");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}
