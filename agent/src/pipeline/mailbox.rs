//! Messages to the tail thread, and the bell that wakes it: it sleeps in `poll`, where a channel alone would not be heard.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::follow::Reloaded;
use crate::flow::Report;
use crate::status::Status;

/// Room for every lane's report, a stop and some questions at once.
const MAIL_MAX: usize = 64;

/// Holds one message.
#[derive(Debug)]
pub(super) enum Mail {
    /// A lane has run its errand.
    Report(Report),
    /// Somebody wants to know how things stand.
    Status(oneshot::Sender<Status>),
    /// The configuration was read again.
    Reload(Box<Reloaded>),
    /// No more reading: send what is read, wait for its acknowledgement, end.
    Stop,
    /// End now.
    StopNow,
}

/// Sends mail; one for each sender.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    mail: SyncSender<Mail>,
    bell: Arc<OwnedFd>,
}

/// Receives mail.
#[derive(Debug)]
pub(super) struct Mailbox {
    mail: Receiver<Mail>,
    bell: Arc<OwnedFd>,
}

/// Opens a mailbox.
///
/// # Errors
/// The process has no descriptors left (halt).
pub(super) fn open() -> io::Result<(Sender, Mailbox)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = sync_channel(MAIL_MAX);
    Ok((Sender { mail: sender, bell: Arc::clone(&bell) }, Mailbox { mail: receiver, bell }))
}

impl Sender {
    /// Sends a message and rings. False if the box is full, or its owner gone.
    pub(super) fn send(&self, mail: Mail) -> bool {
        let sent = match self.mail.try_send(mail) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.ring();
        sent
    }

    /// Wakes the owner up.
    pub(super) fn ring(&self) {
        // A bell that rings already cannot be rung louder.
        let _rings_already = rustix::io::write(&*self.bell, &1u64.to_le_bytes());
    }
}

impl Mailbox {
    /// Takes a message if there is one.
    pub(super) fn take(&self) -> Option<Mail> {
        self.mail.try_recv().ok()
    }

    /// Silences the bell; to be done before the box is emptied.
    pub(super) fn hush(&self) {
        let _was_silent = rustix::io::read(&*self.bell, &mut [0u8; 8]);
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
