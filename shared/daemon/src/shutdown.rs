//! How a process ends: asked to (once: in order, twice: at once), or because it panicked.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io;
use std::panic::{PanicHookInfo, UnwindSafe, catch_unwind};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that panicked, the one Rust itself uses.
pub const EXIT_PANIC: i32 = 101;
/// Exit code of a process told twice to stop.
pub const EXIT_AT_ONCE: i32 = 130;

/// Gives a token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process at once with
/// [`EXIT_AT_ONCE`].
///
/// Signals are caught from the moment this returns. Must be called in a tokio runtime.
///
/// # Errors
/// The operating system refused a signal handler (halt).
pub fn on_signals() -> io::Result<CancellationToken> {
    let signals = Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    #[expect(clippy::disallowed_methods, reason = "listens as long as the process lives, so nobody waits for its end")]
    tokio::spawn(listen(signals, asked));
    Ok(shutdown)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn listen(mut signals: Signals, shutdown: CancellationToken) {
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping; a second signal ends the process at once");
    shutdown.cancel();
    let name = signals.next().await;
    tracing::warn!(signal = name, "ended at once by a second signal");
    std::process::exit(EXIT_AT_ONCE);
}

/// Hears SIGHUP, which asks a daemon to read its configuration again. Without this the signal ends the process.
pub struct Hangup(Signal);

impl Hangup {
    /// Hears the signal from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The operating system refused a signal handler (halt).
    pub fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Makes a panic in any thread or task end the whole process with [`EXIT_PANIC`], after it was logged.
///
/// A process with one dead task would look healthy and do half of its work; a restarted one does all of it.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        if !IS_CONTAINED.get() {
            log_panic(panic);
            std::process::exit(EXIT_PANIC);
        }
    }));
}

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic because of what it reads, and for no other reason: a library's reader of files that anyone may have damaged. It shares
/// nothing that a panic could leave half done. Everywhere else a panic ends the process.
///
/// # Errors
/// It panicked.
pub fn contained<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, Contained> {
    IS_CONTAINED.set(true);
    let done = catch_unwind(work);
    IS_CONTAINED.set(false);
    done.map_err(|_payload| Contained)
}

/// Tells of a panic that was contained.
#[derive(Debug, thiserror::Error)]
#[error("whoever reads it fails at what is in it")]
pub struct Contained;

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(thread, location, backtrace = %Backtrace::capture(), "panicked: {message}");
}
