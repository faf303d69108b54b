//! The network between agent and collector: passes requests on, cuts answers, or refuses in the collector's place.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Passes everything on.
pub const CLEAR: u64 = 0;

/// Is a network whose state can be changed. The state is `CLEAR`, an HTTP status that requests are refused with, or, below 100, a number n: of
/// n answers one is cut.
#[derive(Debug)]
pub struct Network {
    port: u16,
    state: Arc<AtomicU64>,
}

impl Network {
    /// Starts forwarding to a port of the loopback interface.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let state = Arc::new(AtomicU64::new(CLEAR));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                std::thread::spawn(move || forward(client, upstream, &state));
            }
        });
        Self { port, state }
    }

    /// Gives its address, as agents need it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Changes its state.
    pub fn set(&self, state: u64) {
        self.state.store(state, Ordering::SeqCst);
    }
}

/// Forwards one connection until either side ends it.
fn forward(mut client: TcpStream, upstream: u16, state: &Arc<AtomicU64>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)) else { return };
    let (Ok(mut answers), Ok(mut asker)) = (server.try_clone(), client.try_clone()) else { return };
    let shared = state.clone();
    let answering = std::thread::spawn(move || {
        let (mut buffer, mut count) = (vec![0; 64 << 10], 0);
        while let Ok(len @ 1..) = answers.read(&mut buffer) {
            let every = shared.load(Ordering::SeqCst);
            count += 1;
            let is_cut = (1..100).contains(&every) && count % every == 0;
            if is_cut || asker.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = (asker.shutdown(Shutdown::Both), answers.shutdown(Shutdown::Both));
    });
    let mut buffer = vec![0; 256 << 10];
    while let Ok(len @ 1..) = client.read(&mut buffer) {
        let status = state.load(Ordering::SeqCst);
        let is_head = buffer.starts_with(b"POST ") || buffer.starts_with(b"GET ");
        if status >= 100 && is_head {
            let refusal =
                format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n");
            let _ = client.write_all(refusal.as_bytes());
            break;
        }
        if server.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    let _ = answering.join();
}
