//! Files of an HDFS: spooled on this machine, uploaded beside the published files, and renamed, which never replaces a file.
//!
//! ```text
//! <data_dir>/sinks/<sink>/…    files being written, on this machine
//! <root>/.skidway-<sink>/…     files being uploaded; deleted at the start, gone after an orderly stop
//! <root>/<folder>/<name>       published: whole, closed, never changed again
//! ```
//!
//! Whether a request was carried out is unknown if its answer never came, and it may still be carried out later: by a NameNode that hung, say.
//! So every upload has a name of its own that is never used again. A late rename can then only publish a whole file, and only once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hdfs_native::file::FileReader;
use hdfs_native::{Client, HdfsError};
use rand::random;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::spool::Spool;
use super::{Published, Store};
use crate::sink::config::hdfs::HdfsConfig;
use crate::sink::path::RESERVED;

/// Uploaded or read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Remembers so many uploads that failed and could not be deleted; the next start deletes the others.
const ORPHANS_MAX: usize = 1000;

/// Everybody may read what is published, as is usual in HDFS.
const FOLDER_MODE: u32 = 0o755;

/// Keeps files below a folder of an HDFS.
#[derive(Debug)]
pub struct HdfsStore {
    config: HdfsConfig,
    hidden: String,
    spool: Spool,
    /// Thrown away after a request that failed: its connection may be dead and not know it.
    client: Mutex<Option<Client>>,
    orphans: Mutex<BTreeSet<String>>,
}

impl HdfsStore {
    /// Keeps files of the sink of this name, spooled below `data_dir`.
    pub fn new(config: HdfsConfig, sink: &str, data_dir: &Path) -> Self {
        let hidden = config.path(&format!("{RESERVED}{sink}"));
        let spool = Spool::new(data_dir.join("sinks").join(sink));
        Self { config, hidden, spool, client: Mutex::default(), orphans: Mutex::default() }
    }

    fn client(&self) -> io::Result<Client> {
        let mut client = lock(&self.client);
        match &*client {
            Some(client) => Ok(client.clone()),
            None => {
                let made = self.config.client().map_err(|error| self.explain(error))?;
                Ok(client.insert(made).clone())
            }
        }
    }

    /// Waits for an answer, but not for ever.
    fn wait<T>(&self, request: impl Future<Output = Result<T, HdfsError>>) -> Result<T, HdfsError> {
        let answer = bounded(self.config.call_timeout, request);
        if answer.as_ref().is_err_and(|error| !is_an_answer(error)) {
            lock(&self.client).take();
        }
        answer
    }

    fn call<T>(&self, request: impl Future<Output = Result<T, HdfsError>>) -> io::Result<T> {
        self.wait(request).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: HdfsError) -> io::Error {
        explain(&self.config, error)
    }

    fn is_there(&self, client: &Client, path: &str) -> io::Result<bool> {
        match self.wait(client.get_file_info(path)) {
            Ok(status) if status.isdir => Err(io::Error::other("a folder has its name")),
            Ok(_) => Ok(true),
            Err(HdfsError::FileNotFound(_)) => Ok(false),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Uploads a file in pieces, and closes it.
    fn upload(&self, client: &Client, from: &mut File, to: &str) -> io::Result<()> {
        let mut writer = self.call(client.create(to, &self.config.write_options()))?;
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            if from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)? == 0 {
                break;
            }
            self.call(writer.write_bytes(Bytes::from(piece)))?;
        }
        self.call(writer.close())
    }

    /// Uploads a file under a name of its own and gives it the name it shall have.
    fn upload_and_rename(&self, client: &Client, spooled: &Path, upload: &str, path: &str) -> io::Result<Published> {
        self.upload(client, &mut File::open(spooled)?, upload)?;
        if let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) {
            self.call(client.mkdirs(folder, FOLDER_MODE, true))?;
        }
        match self.wait(client.rename(upload, path, false)) {
            Ok(()) => Ok(Published::New),
            Err(HdfsError::AlreadyExists(_)) => Ok(Published::Exists),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Deletes uploads that were not published; what cannot be deleted now is after the next file.
    fn clear(&self, client: &Client) {
        let mut orphans = std::mem::take(&mut *lock(&self.orphans));
        while let Some(orphan) = orphans.first() {
            if self.wait(client.delete(orphan, false)).is_err() {
                break;
            }
            orphans.pop_first();
        }
        lock(&self.orphans).extend(orphans.into_iter().take(ORPHANS_MAX));
    }

    fn list_below(&self, client: &Client, below: &str, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        let entries = client.list_status_iter(&self.config.path(below), false);
        let next = || self.call(async { entries.next().await.transpose() });
        while let Some(entry) = next()? {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            if !entry.isdir {
                each(&path, entry.length as u64);
            } else if !path.starts_with(RESERVED) {
                self.list_below(client, &path, each)?;
            }
        }
        Ok(())
    }
}

impl Store for HdfsStore {
    fn open(&self) -> io::Result<()> {
        self.spool.open()?;
        let client = self.client()?;
        // An upload that a killed collector left open is deleted like any other: its lease goes with it.
        self.call(client.delete(&self.hidden, true))?;
        lock(&self.orphans).clear();
        self.call(client.mkdirs(&self.hidden, FOLDER_MODE, true))
    }

    fn spool(&self) -> &Path {
        self.spool.folder()
    }

    fn publish(&self, spooled: &Path, path: &str) -> io::Result<Published> {
        let (client, path) = (self.client()?, self.config.path(path));
        // An earlier try may have come as far as this.
        if self.is_there(&client, &path)? {
            return Ok(Published::Exists);
        }
        let upload = format!("{}/{:032x}", self.hidden, random::<u128>());
        let published = self.upload_and_rename(&client, spooled, &upload, &path);
        match published {
            Ok(Published::New) => std::fs::remove_file(spooled)?,
            _ => _ = lock(&self.orphans).insert(upload),
        }
        self.clear(&client);
        published
    }

    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.call(self.client()?.read(&self.config.path(path)))?;
        Ok(Box::new(Reading { config: self.config.clone(), file, piece: Bytes::new() }))
    }

    fn list(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        self.list_below(&self.client()?, "", each)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.call(self.client()?.delete(&self.config.path(path), false)).map(|_was_there| ())
    }

    fn operations(&self, bytes: u64) -> u64 {
        // Looked for, created, completed, its folder made, renamed; and a block for each 128 MiB, the usual size.
        5 + bytes.div_ceil(128 << 20)
    }

    fn close(&self) -> io::Result<()> {
        let removed = self.client().and_then(|client| self.call(client.delete(&self.hidden, true)));
        self.spool.close()?;
        removed.map(|_was_there| ())
    }
}

/// Reads a file piece by piece.
struct Reading {
    config: HdfsConfig,
    file: FileReader,
    piece: Bytes,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let piece = bounded(self.config.call_timeout, self.file.read_bytes(PIECE_BYTES));
            self.piece = piece.map_err(|error| explain(&self.config, error))?;
        }
        let piece = self.piece.split_to(self.piece.len().min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

fn bounded<T>(most: Duration, request: impl Future<Output = Result<T, HdfsError>>) -> Result<T, HdfsError> {
    Handle::current().block_on(async {
        timeout(most, request).await.unwrap_or_else(|_| {
            let words = format!("no answer within {}", skidway_daemon::human::age(most));
            Err(HdfsError::IOError(io::Error::new(io::ErrorKind::TimedOut, words)))
        })
    })
}

/// Tells whether the NameNode itself refused: then the connection to it works.
fn is_an_answer(error: &HdfsError) -> bool {
    matches!(error, HdfsError::RPCError(..) | HdfsError::AlreadyExists(_) | HdfsError::FileNotFound(_))
}

/// Says in one line what is wrong: what the NameNode answers is a page long, with a Java stack below.
fn explain(config: &HdfsConfig, error: HdfsError) -> io::Error {
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let words = match &error {
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            let class = class.rsplit('.').next().unwrap_or_default();
            match class {
                "SafeModeException" => {
                    "the NameNode is in safe mode; it ends by itself unless an operator set it".to_owned()
                }
                "StandbyException" => "all NameNodes are standby; one has to become active".to_owned(),
                "RetriableException" if text.contains("safe mode") => "the NameNode is in safe mode".to_owned(),
                "AccessControlException" | "AuthorizationException" => format!(
                    "{}; let the user write there (hdfs dfs -chown or -setfacl) or set another one as hdfs.user",
                    first_line(text)
                ),
                "NSQuotaExceededException" | "DSQuotaExceededException" => {
                    format!("{}; raise the quota (hdfs dfsadmin) or delete files", first_line(text))
                }
                class => format!("{class}: {}", first_line(text)),
            }
        }
        HdfsError::IOError(error) => {
            format!("{} or one of its DataNodes does not answer ({error})", config.authority())
        }
        HdfsError::GSSAPIError(.., text) => not_accepted(&first_line(text)),
        HdfsError::SASLError(_) | HdfsError::NoSASLMechanism => not_accepted(&first_line(&error.to_string())),
        other => first_line(&other.to_string()),
    };
    io::Error::other(words)
}

fn not_accepted(reason: &str) -> String {
    format!("the NameNode does not accept us: {reason}; see hdfs.principal and hdfs.keytab")
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
