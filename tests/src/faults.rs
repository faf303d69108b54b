//! A network before an object store that fails in every way it can, at random: it answers in the store's place, is late, or cuts the
//! connection before, within or after a request. Seeded; one request a connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::wait;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The store never sees it; the client gets this status.
    Answer(u16),
    /// The store sees it when the client has given up.
    Late,
    /// The store never sees it, and the client gets no answer.
    CutBefore,
    /// The store sees half of it.
    CutWithin,
    /// The store does it, and the client gets no answer.
    CutAfter,
    /// The store does it, and the client gets half an answer.
    CutAnswer,
}

/// All there are.
pub const FAULTS: [Fault; 9] = [
    Fault::Answer(500),
    Fault::Answer(503),
    Fault::Answer(409),
    Fault::Answer(412),
    Fault::Late,
    Fault::CutBefore,
    Fault::CutWithin,
    Fault::CutAfter,
    Fault::CutAnswer,
];

/// Stands before a store.
#[derive(Debug)]
pub struct Faults {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_calm: AtomicBool,
    late_now: AtomicU32,
    one_in: u32,
    late: Duration,
    random: Mutex<StdRng>,
    met: Mutex<BTreeMap<Fault, u32>>,
}

impl Faults {
    /// Stands before the store at port `upstream`: one request in `one_in` fails. `late` is longer than its client waits.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub fn start(upstream: u16, (seed, one_in): (u64, u32), late: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let shared = Shared {
            is_calm: AtomicBool::new(false),
            late_now: AtomicU32::new(0),
            one_in,
            late,
            random,
            met: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&all);
                std::thread::spawn(move || {
                    let fault = shared.take(&client, upstream);
                    if fault == Some(Fault::Late) {
                        shared.late_now.fetch_sub(1, Ordering::SeqCst);
                    }
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, shared }
    }

    /// Gives its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets nothing fail from now on, and waits until nothing is late any more.
    ///
    /// # Panics
    /// When it stays late.
    pub fn calm(&self) {
        self.shared.is_calm.store(true, Ordering::SeqCst);
        wait::until("nothing is late", || (self.shared.late_now.load(Ordering::SeqCst) == 0).then_some(()));
    }

    /// Tells how often each fault was met.
    pub fn met(&self) -> BTreeMap<Fault, u32> {
        self.shared.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn decide(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_calm.load(Ordering::SeqCst) || random.random_range(0..self.one_in) > 0 {
            return None;
        }
        let fault = FAULTS[random.random_range(0..FAULTS.len())];
        if fault == Fault::Late {
            self.late_now.fetch_add(1, Ordering::SeqCst);
        }
        *self.met.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
        Some(fault)
    }

    /// Takes one request and tells what became of it.
    fn take(&self, client: &TcpStream, upstream: u16) -> Option<Fault> {
        let request = read_request(client).ok()?;
        let fault = self.decide();
        // Nothing more is done where either side ends the connection.
        let _ended = self.serve(client, upstream, (request, fault));
        fault
    }

    fn serve(
        &self,
        mut client: &TcpStream,
        upstream: u16,
        ((head, body), fault): ((Vec<u8>, Vec<u8>), Option<Fault>),
    ) -> std::io::Result<()> {
        let sent = match fault {
            Some(Fault::Answer(status)) => {
                let answer = format!("HTTP/1.1 {status} as it likes\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                return client.write_all(answer.as_bytes());
            }
            Some(Fault::CutBefore) => return Ok(()),
            Some(Fault::Late) => {
                wait::pause(self.late);
                &body[..]
            }
            Some(Fault::CutWithin) => &body[..body.len() / 2],
            _ => &body[..],
        };
        let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
        server.write_all(&[&head, sent].concat())?;
        if fault == Some(Fault::CutWithin) {
            return server.shutdown(Shutdown::Both);
        }
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        match fault {
            Some(Fault::CutAfter) => Ok(()),
            Some(Fault::CutAnswer) => client.write_all(&answer[..answer.len() / 2]),
            _ => client.write_all(&answer),
        }
    }
}

/// Reads a request, and asks in it for the connection to end with its answer.
fn read_request(mut client: &TcpStream) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let len = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    client.read_exact(&mut body)?;
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"connection: close\r\n\r\n");
    Ok((head, body))
}
