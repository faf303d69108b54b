//! A door of the collector that misbehaves: it looks at each request and passes it on, answers in the collector's place, or cuts the
//! connection before, within or after it. By plain HTTP or TLS, at any address of the loopback interface.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::Client;
use crate::tls::Terminator;

/// Holds one request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST`, `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// As sent.
    pub headers: Vec<(String, String)>,
    /// As sent.
    pub body: Vec<u8>,
}

impl Request {
    /// Tells whether it is an agent's commit.
    pub fn is_commit(&self) -> bool {
        self.method == "POST" && self.path == "/v1/commits"
    }
}

/// Says what becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The collector answers it.
    Pass,
    /// The collector never sees it; the agent gets this status, and is asked to wait so many seconds.
    Refuse(u16, Option<u64>),
    /// The collector takes it; the agent never gets the answer.
    Swallow,
    /// Nobody answers: the connection is cut.
    Cut,
}

/// Stands before a collector.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    bodies_to_cut: AtomicU64,
    is_closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    accepted: AtomicU64,
}

impl Gate {
    /// Opens a door to the collector at port `upstream`; `decide` says what becomes of each request, and may take its time.
    ///
    /// # Panics
    /// When the machine has no free port.
    pub fn open(upstream: u16, decide: impl Fn(&Request) -> Deed + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", upstream, None, decide)
    }

    /// Does so at an address, by TLS if there is a terminator.
    ///
    /// # Panics
    /// When the address is taken, or the machine has none such.
    pub fn at(
        listen: &str,
        upstream: u16,
        tls: Option<Arc<Terminator>>,
        decide: impl Fn(&Request) -> Deed + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(listen).unwrap_or_else(|error| panic!("cannot listen at {listen}: {error}"));
        let address = listener.local_addr().expect("a bound address");
        let (shared, decide) = (Arc::new(Shared::default()), Arc::new(decide));
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if all.is_closed.load(Ordering::SeqCst) {
                    return;
                }
                all.accepted.fetch_add(1, Ordering::SeqCst);
                all.lock().extend(client.try_clone());
                let (shared, decide, tls) = (Arc::clone(&all), Arc::clone(&decide), tls.clone());
                let Ok(connection) = client.try_clone() else { continue };
                std::thread::spawn(move || {
                    match tls {
                        None => serve(client, upstream, &shared, &*decide),
                        Some(tls) => serve(tls.accept(client), upstream, &shared, &*decide),
                    }
                    // There are further handles of it. The other side may have ended it.
                    let _ = connection.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, shared }
    }

    /// Gives its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives its address as agents need it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Counts the connections made to it.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Cuts the next `count` commits in mid-body: half of it reaches the collector.
    pub fn cut_bodies(&self, count: u64) {
        self.shared.bodies_to_cut.store(count, Ordering::SeqCst);
    }

    /// Counts the bodies that are still to be cut.
    pub fn bodies_to_cut(&self) -> u64 {
        self.shared.bodies_to_cut.load(Ordering::SeqCst)
    }

    /// Cuts all connections there are.
    pub fn cut_all(&self) {
        for connection in self.shared.lock().drain(..) {
            // The other side may have ended it.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Closes for good, cutting all connections; nobody listens at the address any more.
    pub fn close(&self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        // Wakes the listening thread, which then ends.
        let _ = TcpStream::connect(self.address);
        self.cut_all();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one connection, request by request.
fn serve(mut client: impl Read + Write, upstream: u16, shared: &Shared, decide: &(dyn Fn(&Request) -> Deed + Sync)) {
    let server = Client::new(format!("http://127.0.0.1:{upstream}"));
    while let Some(request) = read_request(&mut client, upstream, shared) {
        let answer = match decide(&request) {
            Deed::Cut => return,
            Deed::Refuse(status, retry_after) => {
                let wait = retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
                format!("HTTP/1.1 {status} refused\r\n{wait}content-length: 0\r\n\r\n").into_bytes()
            }
            deed => match pass(&server, &request).filter(|_| deed == Deed::Pass) {
                Some(answer) => answer,
                None => return,
            },
        };
        if client.write_all(&answer).and_then(|()| client.flush()).is_err() {
            return;
        }
    }
}

fn pass(server: &Client, request: &Request) -> Option<Vec<u8>> {
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| matches!(*name, "content-type" | "authorization" | "accept"))
        .collect();
    let answer = match &request.method[..] {
        "GET" => server.try_get(&request.path, &headers),
        _ => server.try_post(&request.path, &headers, &request.body),
    }?;
    let wait = answer.retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    let (status, kind, len) = (answer.status, answer.content_type, answer.body.len());
    let head = format!("HTTP/1.1 {status} passed\r\n{wait}content-type: {kind}\r\ncontent-length: {len}\r\n\r\n");
    Some([head.into_bytes(), answer.body].concat())
}

/// Reads one request; `None` at the connection's end, or if its body is to be cut.
fn read_request(client: &mut impl Read, upstream: u16, shared: &Shared) -> Option<Request> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.into()))
        .collect();
    let len = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, len)| len.parse().ok());
    let mut request = Request { method, path, headers, body: vec![0; len.unwrap_or(0)] };
    let take_one = |left: u64| left.checked_sub(1);
    if request.is_commit() && shared.bodies_to_cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
        let half = request.body.len() / 2;
        client.read_exact(&mut request.body[..half]).ok()?;
        let mut server = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
        let _ = server.write_all(&[&head[..], &request.body[..half]].concat());
        let _ = server.shutdown(Shutdown::Both);
        return None;
    }
    client.read_exact(&mut request.body).ok()?;
    Some(request)
}
