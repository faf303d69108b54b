//! A real HDFS: Apache Hadoop's NameNode and DataNode on this machine, each a process that can be killed, and Hadoop's own shell.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{Program, free_port};
use crate::site::Site;
use crate::wait;

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
const SHELL: &str = "org.apache.hadoop.fs.FsShell";

/// The user whose HDFS it is: others may write where this one lets them.
const OWNER: &str = "hdfs";

/// Holds a running HDFS.
#[derive(Debug)]
pub struct Hdfs {
    folder: PathBuf,
    jars: PathBuf,
    port: u16,
    namenode: Option<Program>,
    datanode: Option<Program>,
}

impl Hdfs {
    /// Starts one in the site's folder `hdfs`, where user `skidway` may write below `/logs`, and nowhere else.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn started(site: &Site) -> Self {
        let folder = site.path("hdfs");
        let mut hdfs = Self { folder, jars: jars(), port: free_port(), namenode: None, datanode: None };
        hdfs.configure();
        let formatted = hdfs.java(OWNER, NAMENODE, &["-format", "-nonInteractive"]);
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        hdfs.start_namenode();
        hdfs.start_datanode();
        hdfs.wait_ready();
        hdfs.shell(OWNER, &["-mkdir", "/logs"]);
        hdfs.shell(OWNER, &["-chown", "skidway", "/logs"]);
        hdfs
    }

    /// Gives the URL of a folder of it.
    pub fn url(&self, folder: &str) -> String {
        format!("hdfs://127.0.0.1:{}{folder}", self.port)
    }

    /// Starts the NameNode (again).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_namenode(&mut self) {
        self.namenode = Some(self.server(NAMENODE, "namenode"));
    }

    /// Starts the DataNode (again).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_datanode(&mut self) {
        self.datanode = Some(self.server(DATANODE, "datanode"));
    }

    /// Gives the NameNode.
    ///
    /// # Panics
    /// Before it is started.
    pub fn namenode(&mut self) -> &mut Program {
        self.namenode.as_mut().expect("the NameNode was started")
    }

    /// Waits until files can be written.
    ///
    /// # Panics
    /// When they never can.
    pub fn wait_ready(&mut self) {
        let port = self.port;
        wait::until("the NameNode listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        wait::until("files can be written", || {
            let some = self.folder.join("core-site.xml").display().to_string();
            assert!(self.namenode().runs(), "the NameNode ended: {}", self.namenode().last_words());
            self.run(OWNER, &["-put", "-f", &some, "/ready"]).status.success().then_some(())
        });
    }

    /// Runs Hadoop's shell (`hdfs dfs`) as a user and gives what it says.
    ///
    /// # Panics
    /// When it fails.
    pub fn shell(&self, user: &str, args: &[&str]) -> String {
        let output = self.run(user, args);
        assert!(output.status.success(), "fs {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the shell speaks UTF-8")
    }

    fn run(&self, user: &str, args: &[&str]) -> std::process::Output {
        self.java(user, SHELL, args)
    }

    /// Lists all files below a folder.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let listed = self.shell(OWNER, &["-ls", "-R", folder]);
        let files = listed.lines().filter(|line| line.starts_with('-'));
        files.filter_map(|line| line.split_whitespace().last().map(str::to_owned)).collect()
    }

    /// Gives the lines of all files below a folder, decompressed by Hadoop's own codecs.
    pub fn rows(&self, folder: &str) -> Vec<String> {
        let files = self.files(folder);
        let args: Vec<&str> = ["-text"].into_iter().chain(files.iter().map(String::as_str)).collect();
        if files.is_empty() { Vec::new() } else { self.shell(OWNER, &args).lines().map(str::to_owned).collect() }
    }

    fn configure(&self) {
        for server in ["hdfs", "datanode", "static"] {
            // Hadoop's archives on Maven Central are without their web pages, and its servers do not start without.
            let page = self.folder.join("webapps").join(server).join("WEB-INF/web.xml");
            self.write(&page, "<web-app/>");
        }
        self.write(&self.folder.join("log4j.properties"), "log4j.rootLogger=INFO,C\nlog4j.appender.C=org.apache.log4j.ConsoleAppender\nlog4j.appender.C.target=System.err\nlog4j.appender.C.layout=org.apache.log4j.PatternLayout\nlog4j.appender.C.layout.ConversionPattern=%d %p %c{1}: %m%n\n");
        let at = |name: &str| format!("file://{}", self.folder.join(name).display());
        self.write_site(
            "core-site.xml",
            &[("fs.defaultFS", self.url("")), ("hadoop.tmp.dir", self.folder.join("tmp").display().to_string())],
        );
        let any = || "127.0.0.1:0".to_owned();
        self.write_site(
            "hdfs-site.xml",
            &[
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
            ],
        );
    }

    fn write_site(&self, name: &str, properties: &[(&str, String)]) {
        let mut text = "<configuration>".to_owned();
        for (name, value) in properties {
            let _infallible = write!(text, "<property><name>{name}</name><value>{value}</value></property>");
        }
        self.write(&self.folder.join(name), &(text + "</configuration>"));
    }

    fn write(&self, path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders are created");
        std::fs::write(path, text).expect("a file is written");
    }

    fn arguments(&self, class: &str) -> Vec<String> {
        let path = format!("{}:{}/*", self.folder.display(), self.jars.display());
        let quick =
            ["-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "--add-opens=java.base/java.lang=ALL-UNNAMED"];
        quick.map(str::to_owned).into_iter().chain(["-cp".to_owned(), path, class.to_owned()]).collect()
    }

    fn java(&self, user: &str, class: &str, args: &[&str]) -> std::process::Output {
        let mut command = Command::new("java");
        command.args(self.arguments(class)).args(args).env("HADOOP_USER_NAME", user).stdin(Stdio::null());
        command.output().expect("java starts")
    }

    fn server(&self, class: &str, name: &str) -> Program {
        let mut command = Command::new("java");
        command.args(self.arguments(class)).env("HADOOP_USER_NAME", OWNER);
        Program::spawn(name, command, &self.folder.join(format!("{name}.log")))
    }
}

/// Finds Hadoop's jars, fetched first if this run has not said where they are.
fn jars() -> PathBuf {
    let folder = std::env::var_os("SKIDWAY_HDFS_TOOLS").map(PathBuf::from).unwrap_or_else(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/hdfs-tools");
        let output = Command::new(script).stderr(Stdio::inherit()).output().expect("scripts/hdfs-tools starts");
        assert!(output.status.success(), "scripts/hdfs-tools failed");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    });
    folder.join("jars")
}
