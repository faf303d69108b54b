//! The port: connections are accepted, each in a task of its own, TLS first where it is configured; how many, and how they end.
//!
//! The loop itself waits for nobody: handshakes, refusals and requests are their tasks' own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::Tasks;
use crate::access::audit::Asked;
use crate::access::{Access, Caller};
use crate::listen::crowd::Ticket;
use crate::listen::held::until_sent;
use crate::listen::http::{ClientCertificate, Failure, Peer, too_many_connections, too_many_of_address, wants_tls};
use crate::listen::lobby::Seat;
use crate::listen::tls::{Acceptor, Opened};
use crate::metrics;

/// Waits this long after the system refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Waits this long for a connection that was sent away to end.
const LEAVE_TIME: Duration = Duration::from_millis(500);

/// Bounds the head of a request, and the buffer that its connection reads with.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Names the failures of handshakes that are refusals: somebody showed a certificate or was to show one, or wanted less than TLS 1.2.
const AUDITED: [&str; 4] = ["no-certificate", "bad-certificate", "revoked-certificate", "old-version"];

/// Holds what every connection needs.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) router: Router,
    /// `None`: plain HTTP.
    pub(super) tls: Option<Arc<Acceptor>>,
    /// Bounds a handshake, and then the head of a request.
    pub(super) header_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub(super) send_timeout: Duration,
    /// Where clients are noted that TLS refuses.
    pub(super) access: Arc<Access>,
    pub(super) tasks: Tasks,
}

/// Accepts for ever, one task a connection.
pub(super) async fn accept(listener: &TcpListener, port: &Port) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        prepare(&stream, port.send_timeout);
        let Some(ticket) = port.tasks.crowd.enter(peer.ip()) else {
            metrics::connection_of_address_refused();
            port.send_away(stream, peer, too_many_of_address);
            continue;
        };
        match port.room_for_one().await {
            Some(room) => {
                // Here and not in its task: who comes next finds it there, even before that has begun.
                let seat = port.tasks.lobby.enter();
                port.tasks.tracker.spawn(port.clone().serve(stream, peer, seat, (room, ticket)));
            }
            None => {
                metrics::connection_refused();
                port.send_away(stream, peer, too_many_connections);
            }
        }
    }
}

fn prepare(stream: &TcpStream, send_timeout: Duration) {
    // Small answers and single events must not wait for an acknowledgement of the bytes before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is not set");
    }
    // The system alone sees whether a client takes a byte now and then; we only see whole buffers go.
    let millis = u32::try_from(send_timeout.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT is not set");
    }
}

impl Port {
    /// Finds room for a connection: free, or that of the one that has been silent longest.
    async fn room_for_one(&self) -> Option<OwnedSemaphorePermit> {
        let room = &self.tasks.room;
        if let Ok(room) = room.clone().try_acquire_owned() {
            return Some(room);
        }
        if !self.tasks.lobby.send_away() {
            return None;
        }
        metrics::connection_sent_away();
        timeout(LEAVE_TIME, room.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Serves one connection until it closes, has to make room, or the collector stops.
    async fn serve(self, stream: TcpStream, peer: SocketAddr, seat: Seat, _room: (OwnedSemaphorePermit, Ticket)) {
        let _open = metrics::connection();
        let sent_away = seat.sent_away();
        let serve = async {
            let opened = self.tasks.draining.run_until_cancelled(self.open(stream, peer)).await.flatten();
            match opened {
                None => {}
                Some(Opened::Tls(stream, certificate)) => {
                    self.converse(TokioIo::new(stream), (peer, certificate), seat).await;
                }
                Some(Opened::Plain(stream)) if self.tls.is_some() => {
                    self.answer_once(TokioIo::new(stream), wants_tls).await;
                }
                Some(Opened::Plain(stream)) => self.converse(TokioIo::new(stream), (peer, None), seat).await,
            }
        };
        let _made_room = sent_away.run_until_cancelled(serve).await;
    }

    /// Tells a client, if there are not too many who are being told, why it is not let in.
    fn send_away(&self, stream: TcpStream, peer: SocketAddr, why: fn() -> Failure) {
        if let Ok(room) = self.tasks.refusals.clone().try_acquire_owned() {
            self.tasks.tracker.spawn(self.clone().refuse(stream, peer, (why, room)));
        }
    }

    async fn refuse(self, stream: TcpStream, peer: SocketAddr, (why, _room): (fn() -> Failure, OwnedSemaphorePermit)) {
        let Some(opened) = self.tasks.draining.run_until_cancelled(self.open(stream, peer)).await.flatten() else {
            return;
        };
        match opened {
            Opened::Tls(stream, _) => self.answer_once(TokioIo::new(stream), why).await,
            Opened::Plain(stream) if self.tls.is_some() => self.answer_once(TokioIo::new(stream), wants_tls).await,
            Opened::Plain(stream) => self.answer_once(TokioIo::new(stream), why).await,
        }
    }

    /// Makes the handshake, where there is one to make; `None` if that failed.
    async fn open(&self, stream: TcpStream, peer: SocketAddr) -> Option<Opened> {
        let Some(tls) = &self.tls else { return Some(Opened::Plain(stream)) };
        let opened = tls.handshake(stream, peer, self.header_timeout).await;
        match &opened {
            Ok(Opened::Plain(_)) => self.note(peer, 400, "tls-required"),
            Err(reason) if AUDITED.contains(reason) => self.note(peer, 0, reason),
            _ => {}
        }
        opened.ok()
    }

    /// Writes down that a client was refused before it could ask for anything.
    fn note(&self, peer: SocketAddr, status: u16, reason: &str) {
        let who = Caller::nobody(Some(peer.ip().to_canonical().to_string())).who();
        let (object, reason) = (String::new(), reason.to_owned());
        self.access.refused(Asked { who, action: "connect", object, status, reason });
    }

    /// Answers what is asked on a connection, each request with whose it is.
    async fn converse(
        &self,
        stream: impl Read + Write + Unpin + 'static,
        (peer, certificate): (SocketAddr, Option<ClientCertificate>),
        seat: Seat,
    ) {
        let answers = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            let (busy, answer) = (seat.ask(), answers.call(request));
            async move {
                let busy = busy.ok_or("the connection made room for another one")?;
                let answer = answer.await.unwrap_or_else(|never| match never {});
                Ok::<_, &str>(answer.map(|body| until_sent(body, busy)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(stream, service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.tasks.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection => served,
                    () = self.tasks.cut_off.cancelled() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }

    /// Gives one answer, whatever is asked, and closes.
    async fn answer_once(&self, stream: impl Read + Write + Unpin, answer: fn() -> Failure) {
        let service =
            service_fn(|_: hyper::Request<Incoming>| async move { Ok::<_, Infallible>(answer().into_response()) });
        let connection = http1::Builder::new().keep_alive(false).serve_connection(stream, service);
        let in_time = timeout(self.header_timeout, connection);
        let _whatever_came_of_it = self.tasks.draining.run_until_cancelled(in_time).await;
    }
}
