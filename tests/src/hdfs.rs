//! A real HDFS: Apache Hadoop's NameNode, or two of one name service, and DataNode on this machine, each a process that can be killed.

use std::net::TcpStream;

use crate::hadoop::{Hadoop, OWNER};
use crate::kerberos::Kerberos;
use crate::program::{Program, free_port};
use crate::site::Site;
use crate::wait;

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSHAAdmin";

/// The name service of two NameNodes.
const SERVICE: &str = "pair";

/// What an HDFS with Kerberos says of itself, but for keytabs; its clients have to know it, too.
const SECURED: [(&str, &str); 10] = [
    ("hadoop.security.authentication", "kerberos"),
    ("hadoop.security.authorization", "true"),
    ("hadoop.rpc.protection", "privacy"),
    // A server of ours that lost its ticket gets another one at once.
    ("hadoop.kerberos.min.seconds.before.relogin", "1"),
    ("dfs.namenode.kerberos.principal", "hdfs/localhost@SKIDWAY.TEST"),
    ("dfs.datanode.kerberos.principal", "hdfs/localhost@SKIDWAY.TEST"),
    ("dfs.web.authentication.kerberos.principal", "HTTP/localhost@SKIDWAY.TEST"),
    ("dfs.block.access.token.enable", "true"),
    ("dfs.data.transfer.protection", "authentication"),
    // Web pages are not our matter here: no certificates for them.
    ("ignore.secure.ports.for.testing", "true"),
];

const KEYTABS: [&str; 3] =
    ["dfs.namenode.keytab.file", "dfs.datanode.keytab.file", "dfs.web.authentication.kerberos.keytab"];

/// Holds a running HDFS.
#[derive(Debug)]
pub struct Hdfs {
    /// Reads and changes what is in it by Hadoop's shell.
    pub hadoop: Hadoop,
    namenodes: Vec<NameNode>,
    datanode: Option<Program>,
}

#[derive(Debug)]
struct NameNode {
    id: String,
    port: u16,
    web_port: u16,
    program: Option<Program>,
}

impl Hdfs {
    /// Starts one in the site's folder `hdfs`, where user `skidway` may write below `/logs`, and nowhere else.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn started(site: &Site) -> Self {
        Self::one(site, None)
    }

    /// Starts one that wants Kerberos tickets, and whose DataNode wants block tokens, of everybody.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn secured(site: &Site, kerberos: &Kerberos) -> Self {
        Self::one(site, Some(kerberos))
    }

    fn one(site: &Site, kerberos: Option<&Kerberos>) -> Self {
        let mut hdfs = Self::new(site, 1, kerberos);
        hdfs.hadoop.do_run(NAMENODE, &["-format", "-nonInteractive"]);
        hdfs.start_namenode(0);
        hdfs.prepare();
        hdfs
    }

    /// Starts one with two NameNodes that share their edits in a folder; the first is active.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn pair(site: &Site) -> Self {
        let mut hdfs = Self::new(site, 2, None);
        let (first, second) = (hdfs.which(0), hdfs.which(1));
        hdfs.hadoop.do_run(NAMENODE, &["-D", &first, "-format", "-nonInteractive"]);
        hdfs.start_namenode(0);
        hdfs.activate(0);
        hdfs.hadoop.do_run(NAMENODE, &["-D", &second, "-bootstrapStandby", "-nonInteractive"]);
        hdfs.start_namenode(1);
        hdfs.prepare();
        hdfs
    }

    fn new(site: &Site, namenodes: usize, kerberos: Option<&Kerberos>) -> Self {
        let node =
            |number| NameNode { id: format!("nn{number}"), port: free_port(), web_port: free_port(), program: None };
        let namenodes = (1..=namenodes).map(node).collect();
        let hdfs =
            Self { hadoop: Hadoop::new(site.path("hdfs"), kerberos.map(Kerberos::tickets)), namenodes, datanode: None };
        hdfs.configure(kerberos);
        hdfs
    }

    fn prepare(&mut self) {
        self.start_datanode();
        self.wait_ready();
        self.hadoop.shell(OWNER, &["-mkdir", "/logs"]);
        self.hadoop.shell(OWNER, &["-chown", "skidway", "/logs"]);
    }

    /// Gives the URL of a folder of it.
    pub fn url(&self, folder: &str) -> String {
        match &self.namenodes[..] {
            [one] => format!("hdfs://127.0.0.1:{}{folder}", one.port),
            _ => format!("hdfs://{SERVICE}{folder}"),
        }
    }

    /// Gives the folder of its `core-site.xml` and `hdfs-site.xml`.
    pub fn config_dir(&self) -> String {
        self.hadoop.folder.display().to_string()
    }

    /// Gives Hadoop's keys that name two NameNodes.
    pub fn service_keys(&self) -> Vec<(String, String)> {
        let ids: Vec<&str> = self.namenodes.iter().map(|node| node.id.as_str()).collect();
        let address = |node: &NameNode| {
            (format!("dfs.namenode.rpc-address.{SERVICE}.{}", node.id), format!("127.0.0.1:{}", node.port))
        };
        let names = [(format!("dfs.ha.namenodes.{SERVICE}"), ids.join(","))];
        names.into_iter().chain(self.namenodes.iter().map(address)).collect()
    }

    /// Starts a NameNode (again); one of two is standby then.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_namenode(&mut self, index: usize) {
        let (which, is_pair) = (self.which(index), self.namenodes.len() > 1);
        let args = if is_pair { vec!["-D", which.as_str()] } else { Vec::new() };
        let node = &mut self.namenodes[index];
        node.program = Some(self.hadoop.server(&format!("namenode-{}", node.id), NAMENODE, &args));
        let port = node.port;
        wait::until("the NameNode listens", || {
            let program = self.namenode(index);
            assert!(program.runs(), "the NameNode ended: {}", program.last_words());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// Makes a NameNode of two the active one; the other must be standby or gone.
    ///
    /// # Panics
    /// When it does not become active.
    pub fn activate(&self, index: usize) {
        self.hadoop.do_run(ADMIN, &["-ns", SERVICE, "-transitionToActive", "--forceactive", &self.namenodes[index].id]);
    }

    /// Says to a NameNode of two which it is: both have the same address.
    fn which(&self, index: usize) -> String {
        format!("dfs.ha.namenode.id={}", self.namenodes[index].id)
    }

    /// Starts the DataNode (again).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_datanode(&mut self) {
        self.datanode = Some(self.hadoop.server("datanode", DATANODE, &[]));
    }

    /// Gives a NameNode.
    ///
    /// # Panics
    /// Before it is started.
    pub fn namenode(&mut self, index: usize) -> &mut Program {
        self.namenodes[index].program.as_mut().expect("the NameNode was started")
    }

    /// Waits until files can be written.
    ///
    /// # Panics
    /// When they never can.
    pub fn wait_ready(&self) {
        let some = self.hadoop.folder.join("core-site.xml").display().to_string();
        wait::until("files can be written", || self.hadoop.can(OWNER, &["-put", "-f", &some, "/ready"]).then_some(()));
    }

    fn configure(&self, kerberos: Option<&Kerberos>) {
        let at = |name: &str| self.hadoop.at(name);
        let any = || "127.0.0.1:0".to_owned();
        let mut keys = vec![
            ("dfs.namenode.name.dir", at("name")),
            ("dfs.datanode.data.dir", at("data")),
            ("dfs.replication", "1".to_owned()),
            ("dfs.namenode.http-address", any()),
            ("dfs.datanode.address", any()),
            ("dfs.datanode.http.address", any()),
            ("dfs.datanode.ipc.address", any()),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            ("dfs.heartbeat.interval", "1".to_owned()),
            ("dfs.permissions.enabled", "true".to_owned()),
        ];
        let temporary = self.hadoop.folder.join("tmp").display().to_string();
        let mut core = vec![("fs.defaultFS", self.url("")), ("hadoop.tmp.dir", temporary)];
        if let Some(kerberos) = kerberos {
            // In both: what is only in one is overruled by the other's defaults, or not known to all.
            core.extend(SECURED.map(|(key, value)| (key, value.to_owned())));
            keys.extend(SECURED.map(|(key, value)| (key, value.to_owned())));
            let keytab = kerberos.keytab().display().to_string();
            keys.extend(KEYTABS.map(|key| (key, keytab.clone())));
        }
        let mut service = Vec::new();
        if self.namenodes.len() > 1 {
            // A NameNode that was killed is not asked again and again whether it is back.
            core.push(("ipc.client.connect.max.retries", "1".to_owned()));
            keys.extend([("dfs.nameservices", SERVICE.to_owned()), ("dfs.namenode.shared.edits.dir", at("edits"))]);
            service = self.service_keys();
            let finder = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
            service.push((format!("dfs.client.failover.proxy.provider.{SERVICE}"), finder.to_owned()));
            for node in &self.namenodes {
                let web = format!("127.0.0.1:{}", node.web_port);
                service.push((format!("dfs.namenode.http-address.{SERVICE}.{}", node.id), web));
                service.push((format!("dfs.namenode.name.dir.{SERVICE}.{}", node.id), at(&node.id)));
            }
        }
        service.extend(keys.into_iter().map(|(key, value)| (key.to_owned(), value)));
        self.hadoop.write_site("core-site.xml", core);
        self.hadoop.write_site("hdfs-site.xml", service);
    }
}
