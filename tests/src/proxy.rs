//! A network that fails between agent and collector: it can swallow the answer of a commit and cut the connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Forwards connections to a server on the loopback interface.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    plan: Arc<Plan>,
}

/// Says which answers to cut, and counts.
#[derive(Debug)]
struct Plan {
    every: u64,
    commits: AtomicU64,
    cut: AtomicU64,
}

impl Proxy {
    /// Starts forwarding to `upstream`, cutting the answer of each `every`-th commit request (0: none) after the
    /// server has sent it and before the agent gets any of it.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub fn start(upstream: u16, every: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let plan = Arc::new(Plan { every, commits: AtomicU64::new(0), cut: AtomicU64::new(0) });
        let shared = plan.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let plan = shared.clone();
                std::thread::spawn(move || forward(client, upstream, &plan));
            }
        });
        Self { port, plan }
    }

    /// Gives its address, as agents need it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Tells how many answers were cut so far.
    pub fn cut_answers(&self) -> u64 {
        self.plan.cut.load(Ordering::SeqCst)
    }
}

/// Forwards one connection until either side ends it.
fn forward(client: TcpStream, upstream: u16, plan: &Arc<Plan>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else {
        return;
    };
    let cut_next = Arc::new(AtomicBool::new(false));
    let (Ok(client_in), Ok(server_out)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let (requests, flag) = (plan.clone(), cut_next.clone());
    let asking = std::thread::spawn(move || pass_requests(client_in, server_out, &requests, &flag));
    pass_answers(server, client, plan, &cut_next);
    let _ = asking.join();
}

/// Passes requests on. A request's head opens a read of its own, because the agent waits for each answer first.
fn pass_requests(mut client: TcpStream, mut server: TcpStream, plan: &Plan, cut_next: &AtomicBool) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(len @ 1..) = client.read(&mut buffer) {
        if buffer.starts_with(b"POST /v1/commits ") {
            let number = plan.commits.fetch_add(1, Ordering::SeqCst) + 1;
            cut_next.store(plan.every > 0 && number.is_multiple_of(plan.every), Ordering::SeqCst);
        }
        if server.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn pass_answers(mut server: TcpStream, mut client: TcpStream, plan: &Plan, cut_next: &AtomicBool) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(len @ 1..) = server.read(&mut buffer) {
        if cut_next.load(Ordering::SeqCst) {
            plan.cut.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if client.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
