//! Where a sink's files go: one small trait, and whoever keeps files behind it.
//!
//! A store publishes a complete file under its name in one step, and never over another one. It blocks.

mod hdfs;
mod local;
mod object;
mod spool;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use hdfs::HdfsStore;
pub use local::LocalStore;
pub use object::{Bucket, BucketStore};
use skidway_daemon::config::Section;

use super::config::hdfs::HdfsConfig;

/// What a sink's url may be, for messages.
const URLS: &str =
    "file:///folder, hdfs://namenode:8020/folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";

/// Says what came of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The file is there, durably.
    New,
    /// There was a file of that name, which was left alone and is durable.
    Exists,
}

/// Keeps published files.
pub trait Store: Send + Sync + fmt::Debug {
    /// Makes ready: checks that files can be kept there, and deletes what an earlier run left unpublished.
    ///
    /// # Errors
    /// As the storage says (retry).
    fn open(&self) -> io::Result<()>;

    /// Gives the folder of files being written.
    fn spool(&self) -> &Path;

    /// Publishes a complete and durable file of the spool at `path`, and takes it out of the spool.
    ///
    /// # Errors
    /// As the storage says (retry); nothing, or all of the file, is published.
    fn publish(&self, spooled: &Path, path: &str) -> io::Result<Published>;

    /// Reads a published file.
    ///
    /// # Errors
    /// As the storage says (retry).
    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Tells the path and bytes of every published file, in no order; those of other writers too.
    ///
    /// # Errors
    /// As the storage says (retry).
    fn list(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()>;

    /// Removes a published file; it may be gone already.
    ///
    /// # Errors
    /// As the storage says (retry).
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Tells how many requests to the storage it takes to publish a file of so many bytes.
    fn operations(&self, bytes: u64) -> u64;

    /// Leaves nothing but published files behind.
    ///
    /// # Errors
    /// As the storage says; what is left is deleted by the next run.
    fn close(&self) -> io::Result<()>;
}

/// Says where files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A folder of this machine.
    Local(PathBuf),
    /// A folder of an HDFS.
    Hdfs(HdfsConfig),
    /// A bucket of an object store.
    Object(Bucket),
}

impl Destination {
    /// Reads a sink's `url`, and the keys that belong to it; mistakes are remembered by the document.
    pub fn from_section(sink: &Section<'_>) -> Option<Self> {
        let url = sink.required::<String>("url")?;
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        if scheme != "hdfs" && sink.section("hdfs").is_present() {
            sink.mistake("hdfs", "is for an hdfs:// url only");
        }
        let mistake = match scheme {
            "file" if rest.starts_with('/') => return Some(Self::Local(rest.into())),
            "hdfs" => return HdfsConfig::from_section(sink, rest).map(Self::Hdfs),
            "s3" | "gs" | "az" => return Bucket::from_section(sink, scheme, rest).map(Self::Object),
            "file" => "names no absolute folder; write file:///folder, with three slashes".to_owned(),
            "" => format!("is not a URL; write {URLS}"),
            other => format!("{other}:// is not known; write {URLS}"),
        };
        sink.mistake("url", mistake);
        None
    }

    /// Names the file of the secret that the store asks for, if there is one.
    pub fn secret_file(&self) -> Option<&Path> {
        match self {
            Self::Local(_) => None,
            Self::Object(bucket) => bucket.secret_file.as_deref(),
            Self::Hdfs(config) => config.keytab(),
        }
    }

    /// Gives the store of a sink of this name. What is written elsewhere than on this machine is spooled below `data_dir`.
    pub fn store(&self, sink: &str, data_dir: &Path) -> Arc<dyn Store> {
        match self {
            Self::Local(root) => Arc::new(LocalStore::new(root, sink)),
            Self::Object(bucket) => Arc::new(BucketStore::new(bucket, sink, data_dir)),
            Self::Hdfs(config) => Arc::new(HdfsStore::new(config.clone(), sink, data_dir)),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(root) => write!(f, "file://{}", root.display()),
            Self::Object(bucket) => bucket.fmt(f),
            Self::Hdfs(config) => config.fmt(f),
        }
    }
}

#[cfg(test)]
pub(in crate::sink) mod conformance {
    //! What every store does.

    use super::*;

    /// Runs a store through all of it.
    #[track_caller]
    pub(in crate::sink) fn conforms(store: &dyn Store) {
        let spool = |name: &str, text: &str| {
            let path = store.spool().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let read = |path: &str| {
            let mut text = String::new();
            store.read(path).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        store.open().unwrap();
        assert_eq!(store.publish(&spool("1", "one"), "dt=2026-11-22/hour=10/a+0+0+1.log").unwrap(), Published::New);
        assert_eq!(store.publish(&spool("2", "two"), "top.log").unwrap(), Published::New);
        assert_eq!(read("dt=2026-11-22/hour=10/a+0+0+1.log"), "one");

        let again = spool("3", "three");
        assert_eq!(store.publish(&again, "top.log").unwrap(), Published::Exists);
        assert_eq!(read("top.log"), "two");
        assert!(store.publish(&store.spool().join("none"), "other.log").is_err());
        assert_eq!(store.publish(&store.spool().join("none"), "top.log").unwrap(), Published::Exists);
        assert!(store.read("other.log").is_err());
        assert!(store.read("").is_err());

        let list = || {
            let mut found = Vec::new();
            store.list(&mut |path, bytes| found.push((path.to_owned(), bytes))).unwrap();
            found.sort();
            found
        };
        let (deep, top) = (("dt=2026-11-22/hour=10/a+0+0+1.log".to_owned(), 3), ("top.log".to_owned(), 3));
        assert_eq!(list(), [deep.clone(), top.clone()]);
        store.remove(&deep.0).unwrap();
        store.remove(&deep.0).unwrap();
        assert_eq!(list(), [top]);

        spool("left behind", "x");
        store.open().unwrap();
        assert_eq!(std::fs::read_dir(store.spool()).unwrap().count(), 0);
        store.close().unwrap();
        assert_eq!(read("top.log"), "two");
    }
}
