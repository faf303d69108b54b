//! Apache Hadoop's programs on this machine: their configuration in a folder, servers that can be killed, and Hadoop's own shell.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::program::Program;
use crate::tools;

const SHELL: &str = "org.apache.hadoop.fs.FsShell";

/// The user whose HDFS it is: others may write where this one lets them.
pub(crate) const OWNER: &str = "hdfs";

const LOGGING: &str = "log4j.rootLogger=INFO,C\nlog4j.appender.C=org.apache.log4j.ConsoleAppender\nlog4j.appender.C.target=System.err\n\
                       log4j.appender.C.layout=org.apache.log4j.PatternLayout\nlog4j.appender.C.layout.ConversionPattern=%d %p %c{1}: %m%n\n";

/// Runs Hadoop's programs by the configuration in a folder.
#[derive(Debug)]
pub struct Hadoop {
    pub(crate) folder: PathBuf,
    jars: PathBuf,
    /// Whose tickets programs use; `None`: nobody asks for tickets.
    tickets: Option<Tickets>,
}

/// Says how programs get Kerberos tickets as HDFS's owner.
#[derive(Debug)]
pub(crate) struct Tickets {
    pub(crate) config: PathBuf,
    pub(crate) keytab: PathBuf,
}

impl Hadoop {
    /// Prepares a folder for those of HDFS.
    ///
    /// # Panics
    /// When Hadoop cannot be fetched.
    pub(crate) fn new(folder: PathBuf, tickets: Option<Tickets>) -> Self {
        let hadoop = Self { tickets, ..Self::with_jars(folder, tools(false).join("jars")) };
        for server in ["hdfs", "datanode", "static"] {
            // Hadoop's archives on Maven Central are without their web pages, and its servers do not start without.
            hadoop.write(&format!("webapps/{server}/WEB-INF/web.xml"), "<web-app/>");
        }
        hadoop
    }

    /// Prepares a folder for others.
    pub(crate) fn with_jars(folder: PathBuf, jars: PathBuf) -> Self {
        let hadoop = Self { folder, jars, tickets: None };
        hadoop.write("log4j.properties", LOGGING);
        hadoop
    }

    /// Gives the `file://` URL of something in its folder.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("file://{}", self.folder.join(name).display())
    }

    /// Writes `core-site.xml` or `hdfs-site.xml`.
    pub(crate) fn write_site(&self, name: &str, properties: impl IntoIterator<Item = (impl Display, String)>) {
        let mut text = "<configuration>".to_owned();
        for (name, value) in properties {
            let _infallible = write!(text, "<property><name>{name}</name><value>{value}</value></property>");
        }
        self.write(name, &(text + "</configuration>"));
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders are created");
        std::fs::write(path, text).expect("a file is written");
    }

    /// Prepares a program, as a user.
    pub(crate) fn command(&self, user: &str, class: &str, args: &[&str]) -> Command {
        let path = format!("{}:{}/*", self.folder.display(), self.jars.display());
        let quick =
            ["-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "--add-opens=java.base/java.lang=ALL-UNNAMED"];
        let mut command = Command::new("java");
        command.args(quick);
        if let Some(tickets) = &self.tickets {
            command.arg(format!("-Djava.security.krb5.conf={}", tickets.config.display()));
            command.env("KRB5PRINCIPAL", "hdfs/localhost").env("KRB5KEYTAB", &tickets.keytab);
        }
        command.args(["-cp", &path, class]).args(args);
        command.env("HADOOP_USER_NAME", user).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, user: &str, class: &str, args: &[&str]) -> Output {
        self.command(user, class, args).output().expect("java starts")
    }

    /// Starts a program that goes on.
    pub(crate) fn server(&self, name: &str, class: &str, args: &[&str]) -> Program {
        Program::spawn(name, self.command(OWNER, class, args), &self.folder.join(format!("{name}.log")))
    }

    /// Runs a program that has to work, as HDFS's owner.
    pub(crate) fn do_run(&self, class: &str, args: &[&str]) {
        let output = self.run(OWNER, class, args);
        assert!(output.status.success(), "{class} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Tells whether Hadoop's shell (`hdfs dfs`) does something.
    pub(crate) fn can(&self, user: &str, args: &[&str]) -> bool {
        self.run(user, SHELL, args).status.success()
    }

    /// Runs Hadoop's shell as a user and gives what it says.
    ///
    /// # Panics
    /// When it fails.
    pub fn shell(&self, user: &str, args: &[&str]) -> String {
        let output = self.run(user, SHELL, args);
        assert!(output.status.success(), "fs {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the shell speaks UTF-8")
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
}

/// Finds the folder of Hadoop's jars, fetched first if this run has not said where it is.
pub(crate) fn tools(with_kerberos: bool) -> PathBuf {
    tools::folder("SKIDWAY_HDFS_TOOLS", "hdfs-tools", if with_kerberos { &["--kerberos"] } else { &[] })
}
