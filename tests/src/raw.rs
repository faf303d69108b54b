//! A connection to a server without an HTTP client between: bytes as an attacker writes them, and whatever comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bounds what is read of an answer's body.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Holds a connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

/// Holds what came back for one request.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Body, as far as its length was told.
    pub body: Vec<u8>,
}

/// Is how a server reacts to bytes.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// It answers.
    Answer(RawAnswer),
    /// It closes the connection without an answer.
    Closed,
    /// It does neither within the time that was given.
    Nothing,
}

impl Reaction {
    /// Gives the answer's status, 0 for none.
    pub fn status(&self) -> u16 {
        if let Self::Answer(answer) = self { answer.status } else { 0 }
    }

    /// Tells whether the sender was told that it is wrong, or cut off.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Answer(answer) => (400..500).contains(&answer.status),
            Self::Closed => true,
            Self::Nothing => false,
        }
    }
}

impl Raw {
    /// Connects to a port of the loopback interface.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("the server listens")
    }

    /// Connects to a port of the loopback interface, if that can be done.
    pub fn try_connect(port: u16) -> Option<Self> {
        let stream =
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(10)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(Duration::from_secs(30))).ok()?;
        Some(Self { stream, read: Vec::new() })
    }

    /// Connects to a port of the loopback interface from another address of it, such as 127.0.0.2.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect_from(address: [u8; 4], port: u16) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from((address, 0))).expect("an address of the loopback interface");
        connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).expect("the server listens");
        Self { stream: socket.into(), read: Vec::new() }
    }

    /// Writes bytes; false if the server does not take them (any more).
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that no more will be written.
    pub fn end(&self) {
        // A connection that is gone already needs no end.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for the server's reaction to what was sent. Interim answers (1xx) are passed over.
    pub fn reaction(&mut self, patience: Duration) -> Reaction {
        let deadline = Instant::now() + patience;
        loop {
            while let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.read[..end + 2]).into_owned();
                let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
                if (100..200).contains(&status) {
                    self.read.drain(..end + 4);
                    continue;
                }
                return self.answer(status, head, end + 4, deadline);
            }
            match self.more(deadline) {
                Some(true) => {}
                Some(false) => return Reaction::Closed,
                None => return Reaction::Nothing,
            }
        }
    }

    fn answer(&mut self, status: u16, head: String, body_at: usize, deadline: Instant) -> Reaction {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let end = body_at + length.unwrap_or(0).min(BODY_BYTES_MAX);
        while self.read.len() < end && self.more(deadline) == Some(true) {}
        let body = self.read[body_at..end.min(self.read.len())].to_vec();
        self.read.drain(..end.min(self.read.len()));
        Reaction::Answer(RawAnswer { status, head, body })
    }

    /// Reads some more; false at the end, `None` when the time is over.
    fn more(&mut self, deadline: Instant) -> Option<bool> {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        self.stream.set_read_timeout(Some(left)).ok()?;
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => Some(false),
            Ok(bytes) => {
                self.read.extend_from_slice(&piece[..bytes]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(_) => Some(false),
        }
    }

    /// Reads and forgets up to so many bytes; `None` at the end of the connection.
    pub fn take(&mut self, bytes: usize, patience: Duration) -> Option<usize> {
        self.stream.set_read_timeout(Some(patience)).ok()?;
        let mut piece = vec![0; bytes];
        self.stream.read(&mut piece).ok().filter(|taken| *taken > 0)
    }

    /// Waits until the server has closed the connection; whatever it still sends is read and forgotten. False if it has not in time.
    pub fn closes_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            match self.more(deadline) {
                Some(true) => self.read.clear(),
                Some(false) => return true,
                None => return false,
            }
        }
    }
}

impl RawAnswer {
    /// Gives the body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
