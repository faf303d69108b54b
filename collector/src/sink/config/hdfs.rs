//! What an operator says of an HDFS. Hadoop's own files say most of it; keys here override them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use skidway_daemon::config::{ByteSize, Section};

/// Needed for Kerberos; loaded only then.
const KERBEROS_LIBRARY: &str = "libgssapi_krb5.so.2";

const LIBRARY_FOLDERS: [&str; 5] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];

const AUTHENTICATION: &str = "hadoop.security.authentication";

/// A NameNode that is away is told soon: the sink tries again by itself, for ever.
const IMPATIENCE: [(&str, &str); 3] = [
    ("dfs.client.failover.max.attempts", "4"),
    ("dfs.client.failover.sleep.base.millis", "200"),
    ("dfs.client.failover.sleep.max.millis", "2000"),
];

/// Says how an HDFS is reached, and where in it files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HdfsConfig {
    /// `namenode:port`, or a name service.
    authority: String,
    /// Without a slash at its end.
    root: String,
    config_dir: Option<PathBuf>,
    user: Option<String>,
    principal: Option<String>,
    keytab: Option<PathBuf>,
    options: BTreeMap<String, String>,
    replication: Option<u32>,
    block_bytes: Option<u64>,
    /// Bounds each request.
    pub call_timeout: Duration,
}

impl HdfsConfig {
    /// Reads a sink's `url`, what follows `hdfs://`, and its `hdfs` keys. Mistakes are remembered by the document.
    pub fn from_section(sink: &Section<'_>, rest: &str) -> Option<Self> {
        let (authority, root) = match place(rest) {
            Ok(place) => place,
            Err(reason) => {
                sink.mistake("url", reason);
                return None;
            }
        };
        let hdfs = sink.section("hdfs");
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let config = Self {
            authority,
            root,
            config_dir: hdfs.optional("config_dir"),
            user: hdfs.optional("user"),
            principal: hdfs.optional("principal"),
            keytab: hdfs.optional("keytab"),
            options: hdfs.get("options", BTreeMap::new()),
            replication: hdfs.optional("replication"),
            block_bytes: hdfs.optional::<ByteSize>("block_bytes").map(|bytes| bytes.0),
            call_timeout: hdfs.within("call_timeout", Duration::from_secs(60), second..=hour),
        };
        let mistakes = config.mistakes();
        for (key, reason) in &mistakes {
            hdfs.mistake(key, reason);
        }
        if mistakes.is_empty() {
            // Reads Hadoop's files and finds the NameNodes' names; it connects to nobody.
            if let Err(error) = config.client() {
                sink.mistake("url", format!("cannot be used: {}", told(&error, &config)));
            }
        }
        Some(config)
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if let Some(folder) = self.config_dir.as_ref().filter(|folder| !folder.join("core-site.xml").is_file()) {
            mistakes.push(("config_dir", format!("{} holds no core-site.xml", folder.display())));
        }
        match (&self.keytab, &self.principal) {
            (Some(_), None) => mistakes.push(("principal", "is needed with a keytab: whose key is in it".to_owned())),
            (Some(keytab), _) => {
                if let Err(error) = File::open(keytab) {
                    mistakes.push(("keytab", format!("{} cannot be read: {error}", keytab.display())));
                }
            }
            (None, _) => {}
        }
        let kerberos = self.principal.is_some() || self.options.get(AUTHENTICATION).is_some_and(|it| it == "kerberos");
        if kerberos && !has_library() {
            let packages = "Debian's package libgssapi-krb5-2, Red Hat's krb5-libs";
            mistakes.push(("principal", format!("Kerberos needs {KERBEROS_LIBRARY}: install {packages}")));
        }
        if self.replication.is_some_and(|copies| !(1..=512).contains(&copies)) {
            mistakes.push(("replication", "expected 1 to 512".to_owned()));
        }
        if self.block_bytes.is_some_and(|bytes| bytes < 4096 || bytes % 4096 != 0) {
            mistakes.push(("block_bytes", "is a multiple of 4KiB; 128MiB is usual".to_owned()));
        }
        mistakes
    }

    /// Makes a client; it connects when it is first asked for something.
    ///
    /// # Errors
    /// What is wrong with the configuration (reject).
    pub fn client(&self) -> Result<Client, HdfsError> {
        let mut options: BTreeMap<String, String> =
            IMPATIENCE.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        if self.principal.is_some() {
            options.insert(AUTHENTICATION.to_owned(), "kerberos".to_owned());
        }
        options.extend(self.options.clone());
        let mut builder = ClientBuilder::new().with_url(format!("hdfs://{}", self.authority)).with_config(options);
        if let Some(folder) = &self.config_dir {
            builder = builder.with_config_dir(folder.display().to_string());
        }
        if let Some(user) = &self.user {
            builder = builder.with_user(user);
        }
        if let Some(principal) = &self.principal {
            builder = builder.with_kerberos_principal(principal);
        }
        if let Some(keytab) = &self.keytab {
            // Its tickets are its own: another sink, or whoever shares our user's tickets, may be somebody else.
            let tickets = format!("MEMORY:{} {}", self.principal.as_deref().unwrap_or_default(), keytab.display());
            builder = builder.with_kerberos_keytab(keytab.display().to_string()).with_kerberos_cache(tickets);
        }
        builder.build()
    }

    /// Says how a file is written; what is not configured the NameNode decides.
    pub fn write_options(&self) -> WriteOptions {
        WriteOptions { block_size: self.block_bytes, replication: self.replication, ..WriteOptions::default() }
    }

    /// Gives the path of something below the root.
    pub fn path(&self, below: &str) -> String {
        if below.is_empty() && !self.root.is_empty() { self.root.clone() } else { format!("{}/{below}", self.root) }
    }

    /// Names the file of the key that Kerberos is shown.
    pub fn keytab(&self) -> Option<&Path> {
        self.keytab.as_deref()
    }

    /// Names the NameNode or name service.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for HdfsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hdfs://{}{}", self.authority, self.path(""))
    }
}

/// Takes apart what follows `hdfs://`.
fn place(rest: &str) -> Result<(String, String), String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains(['@', '?', '#', ' ']) {
        return Err("names no NameNode; write hdfs://namenode:8020/folder, or hdfs://nameservice/folder".to_owned());
    }
    let root = path.trim_end_matches('/');
    let is_odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(':');
    if !root.is_empty() && root.split('/').any(is_odd) {
        return Err("has a folder that HDFS cannot have: empty, . or .., or with a colon".to_owned());
    }
    let root = if root.is_empty() { String::new() } else { format!("/{root}") };
    Ok((authority.to_owned(), root))
}

fn told(error: &HdfsError, config: &HdfsConfig) -> String {
    let text = error.to_string();
    if !text.contains("No NameNode hosts") {
        return text;
    }
    let name = &config.authority;
    format!(
        "no NameNode of {name} is known: write {name}:8020, or name them by dfs.ha.namenodes.{name} in Hadoop's hdfs-site.xml (hdfs.config_dir) or hdfs.options"
    )
}

fn has_library() -> bool {
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = LIBRARY_FOLDERS.map(PathBuf::from).into_iter().chain(std::env::split_paths(&named));
    // Debian keeps them one folder deeper.
    let is_below = |folder: &Path| {
        let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
        below.into_iter().any(|entry| entry.path().join(KERBEROS_LIBRARY).exists())
    };
    folders.into_iter().any(|folder| folder.join(KERBEROS_LIBRARY).exists() || is_below(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidway_daemon::config::Document;

    fn read(url: &str, keys: &str) -> Result<HdfsConfig, String> {
        let document = Document::parse("collector.toml", keys).unwrap();
        let config = HdfsConfig::from_section(&document.section(), url);
        document.finish().map_err(|it| it.to_string()).map(|()| config.unwrap())
    }

    #[test]
    fn a_url_names_a_namenode_and_a_folder() {
        for (url, shown, below) in [
            ("nn:8020/logs/app/", "hdfs://nn:8020/logs/app", "/logs/app/a/b"),
            ("nn:8020", "hdfs://nn:8020/", "/a/b"),
            ("nn:8020/", "hdfs://nn:8020/", "/a/b"),
        ] {
            let config = read(url, "").unwrap();
            assert_eq!((config.to_string().as_str(), config.path("a/b").as_str()), (shown, below));
        }
        for (url, words) in
            [("/logs", "names no NameNode"), ("nn:8020/a/../b", "cannot have"), ("nn:8020/a:b", "colon")]
        {
            let mistakes = read(url, "").unwrap_err();
            assert!(mistakes.contains(words), "{mistakes}");
        }
    }

    #[test]
    fn a_name_service_is_known_by_hadoops_files_or_by_keys() {
        let unknown = read("logs/app", "").unwrap_err();
        assert!(unknown.contains("no NameNode of logs is known"), "{unknown}");
        let by_keys = "'dfs.ha.namenodes.logs' = 'a', 'dfs.namenode.rpc-address.logs.a' = '127.0.0.1:8020'";
        read("logs/app", &format!("hdfs = {{ options = {{ {by_keys} }} }}")).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let property =
            |name: &str, value: &str| format!("<property><name>{name}</name><value>{value}</value></property>");
        let site =
            [property("dfs.ha.namenodes.logs", "a"), property("dfs.namenode.rpc-address.logs.a", "127.0.0.1:8020")];
        let keys = format!("hdfs = {{ config_dir = {:?} }}", temp.path());
        assert!(read("logs/app", &keys).unwrap_err().contains("holds no core-site.xml"));
        std::fs::write(temp.path().join("core-site.xml"), "<configuration/>").unwrap();
        let site = format!("<configuration>{}</configuration>", site.concat());
        std::fs::write(temp.path().join("hdfs-site.xml"), site).unwrap();
        read("logs/app", &keys).unwrap();
    }

    #[test]
    fn mistakes_are_told_at_once() {
        let keys = "hdfs = { keytab = '/not/there', principal = 'skidway@A', replication = 0, block_bytes = '5KiB' }";
        let mistakes = read("nn:8020/a", keys).unwrap_err();
        for words in ["hdfs.keytab: /not/there cannot be read", "hdfs.replication", "hdfs.block_bytes: is a multiple"] {
            assert!(mistakes.contains(words), "{words} in {mistakes}");
        }
        assert!(read("nn:8020/a", "hdfs = { keytab = '/dev/null' }").unwrap_err().contains("whose key"));
    }
}
