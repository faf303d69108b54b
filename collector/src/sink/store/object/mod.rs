//! Object stores: S3 and what is like it, Google Cloud Storage, Azure Blob Storage. Files are spooled on this machine and sent when they are
//! complete; an object is there at once, whole, and never replaces another one.
//!
//! ```text
//! <data_dir>/sinks/<sink>/…                  files being written, on this machine
//! <prefix>/.skidway-<sink>/…                 hidden objects: a probe, large files on their way; deleted at the start
//! <prefix>/<folder>/<name>                   published
//! ```

mod bucket;
mod client;
mod trouble;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Handle;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::timeout;

pub use bucket::Bucket;
use bucket::key;
use client::{Client, PART_BYTES};
use trouble::{explain, is_refused};

use super::spool::Spool;
use super::{Published, Store};
use crate::sink::path::RESERVED;

/// Files that one sink sends at once: each has a part in memory.
const SENDING_MAX: usize = 4;

/// Bounds what a stop of the collector waits for; the next start cleans up what this one did not.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps files below a prefix of a bucket.
///
/// Blocks on the runtime: to be called on its blocking threads alone.
#[derive(Debug)]
pub struct BucketStore {
    client: Arc<Client>,
    prefix: Path,
    /// The folder of what is not published.
    hidden: Path,
    spool: Spool,
    room: Semaphore,
    /// Large files on their way are readers of it; who ends what was left of others writes.
    uploads: RwLock<()>,
    /// An upload failed: some of it may be left.
    has_left: AtomicBool,
}

impl BucketStore {
    /// Keeps files of the sink of this name in a bucket, spooled below `data_dir`.
    pub(super) fn new(bucket: &Bucket, sink: &str, data_dir: &FilePath) -> Self {
        Self::with(bucket.client.clone(), &bucket.prefix, sink, data_dir)
    }

    fn with(client: Arc<Client>, prefix: &Path, sink: &str, data_dir: &FilePath) -> Self {
        Self {
            client,
            prefix: prefix.clone(),
            hidden: prefix.clone().join(format!("{RESERVED}{sink}")),
            spool: Spool::new(data_dir.join("sinks").join(sink)),
            room: Semaphore::new(SENDING_MAX),
            uploads: RwLock::new(()),
            has_left: AtomicBool::new(false),
        }
    }

    fn key(&self, path: &str) -> io::Result<Path> {
        if path.is_empty() {
            return Err(io::Error::other("it is not a file"));
        }
        key(&self.prefix, path).map_err(io::Error::other)
    }

    async fn is_there(&self, key: &Path) -> io::Result<bool> {
        match self.client.store.head(key).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(explain(&error)),
        }
    }

    /// Checks that the bucket can be written and that it refuses to replace an object when told so, which not all stores that call themselves
    /// compatible do.
    async fn probe(&self) -> io::Result<()> {
        let (probe, store) = (self.hidden.clone().join("probe"), &self.client.store);
        store.put(&probe, "probe".into()).await.map_err(|error| explain(&error))?;
        match store.put_opts(&probe, "probe".into(), PutOptions::from(PutMode::Create)).await {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Ok(_) => Err(io::Error::other(
                "the store replaces objects even if told not to (If-None-Match); a sink cannot be exactly once there",
            )),
            Err(error) => Err(explain(&error)),
        }
    }

    /// Deletes hidden objects and ends uploads that were never completed.
    async fn clean_up(&self) -> Result<(), Error> {
        let mut left = self.client.store.list(Some(&self.hidden));
        while let Some(object) = left.try_next().await? {
            self.delete(&object.location).await?;
        }
        // Files' names have pluses; what somebody else uploads beside them is left alone.
        let is_ours = |key: &str| key.rsplit('/').next().is_some_and(|name| name.contains('+'));
        match self.client.end_uploads(&self.prefix, is_ours).await {
            Err(error) if is_refused(&error) => {
                let (prefix, error) = (&self.prefix, explain(&error));
                tracing::warn!(%prefix, %error, "uploads that were never completed cannot be listed or ended; let a lifecycle rule do it");
                Ok(())
            }
            ended => ended,
        }
    }

    async fn delete(&self, key: &Path) -> Result<(), Error> {
        match self.client.store.delete(key).await {
            Err(Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    async fn send(&self, file: &mut File, bytes: u64, key: &Path) -> Result<(), Error> {
        if bytes <= PART_BYTES {
            let file = client::read(file, bytes)?;
            return self.client.store.put_opts(key, file, PutOptions::from(PutMode::Create)).await.map(|_| ());
        }
        if self.has_left.load(Ordering::SeqCst)
            && let Ok(_alone) = self.uploads.try_write()
        {
            self.clean_up().await?;
            self.has_left.store(false, Ordering::SeqCst);
        }
        let _uploading = self.uploads.read().await;
        let hidden = self.hidden.clone().join(format!("{:016x}", rand::random::<u64>()));
        let sent = self.client.upload(file, bytes, key, &hidden).await;
        if sent.is_err() {
            self.has_left.store(true, Ordering::SeqCst);
        }
        sent
    }

    async fn publish_as(&self, spooled: &FilePath, key: &Path) -> io::Result<Published> {
        let mut file = match File::open(spooled) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if self.is_there(key).await? { Ok(Published::Exists) } else { Err(error) };
            }
            opened => opened?,
        };
        let bytes = file.metadata()?.len();
        let _room = self.room.acquire().await.map_err(io::Error::other)?;
        // An upload in vain is a waste, and an upload that was completed says no more than that it is gone.
        if bytes > PART_BYTES && self.is_there(key).await? {
            return Ok(Published::Exists);
        }
        match self.send(&mut file, bytes, key).await {
            Ok(()) => fs::remove_file(spooled).map(|()| Published::New),
            // What is there counts, not what is said: a conflict may be with a write that came to nothing.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => match self.is_there(key).await? {
                true => Ok(Published::Exists),
                false => Err(io::Error::other("another write of it is under way (409 or 412)")),
            },
            Err(error) => Err(explain(&error)),
        }
    }
}

impl Store for BucketStore {
    fn open(&self) -> io::Result<()> {
        self.spool.open()?;
        Handle::current().block_on(async {
            self.probe().await?;
            self.clean_up().await.map_err(|error| explain(&error))
        })
    }

    fn spool(&self) -> &FilePath {
        self.spool.folder()
    }

    fn publish(&self, spooled: &FilePath, path: &str) -> io::Result<Published> {
        let key = self.key(path)?;
        Handle::current().block_on(self.publish_as(spooled, &key))
    }

    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let (key, runtime) = (self.key(path)?, Handle::current());
        let found = runtime.block_on(self.client.store.get(&key)).map_err(|error| explain(&error))?;
        Ok(Box::new(Reading { stream: found.into_stream(), piece: Bytes::new(), runtime }))
    }

    fn list(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        let skipped = self.prefix.as_ref().len() + usize::from(!self.prefix.as_ref().is_empty());
        let mut objects = self.client.store.list(Some(&self.prefix));
        Handle::current().block_on(async {
            while let Some(object) = objects.try_next().await.map_err(|error| explain(&error))? {
                let path = object.location.as_ref().get(skipped..).unwrap_or_default();
                if !path.starts_with(RESERVED) {
                    each(path, object.size);
                }
            }
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let key = self.key(path)?;
        Handle::current().block_on(self.delete(&key)).map_err(|error| explain(&error))
    }

    fn operations(&self, bytes: u64) -> u64 {
        // What comes in parts is looked for, begun and ended, too.
        if bytes <= PART_BYTES { 1 } else { bytes.div_ceil(PART_BYTES) + 3 }
    }

    fn close(&self) -> io::Result<()> {
        self.spool.close()?;
        // Not only what is known to have failed: a request that was given up may have been done after it was made again.
        let cleaned = async { timeout(CLOSE_TIMEOUT, self.clean_up()).await };
        match Handle::current().block_on(cleaned) {
            Ok(cleaned) => cleaned.map_err(|error| explain(&error)),
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "the store does not answer in time")),
        }
    }
}

/// Reads an object as it comes.
struct Reading {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    piece: Bytes,
    runtime: Handle,
}

impl Read for Reading {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(piece) => self.piece = piece.map_err(|error| explain(&error))?,
                None => return Ok(0),
            }
        }
        let read = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
