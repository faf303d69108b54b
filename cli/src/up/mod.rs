//! `skidway up`: an agent and a collector in one process, without configuration.
//!
//! The wiring is here and nowhere else. The agent talks loopback HTTP to the collector like any other agent, and drains first
//! when the process is told to stop: the demo stops writing, the agent ships what is read, then the collector closes.

mod demo;
mod files;
mod folders;
mod greeting;
mod pulse;

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use skidway_agent::{Agent, Exit};
use skidway_collector::config::{Config, Exposed};
use skidway_collector::server::Server;
use skidway_daemon::telemetry::{self, Logging};
use skidway_daemon::{notify, shutdown};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args;
use crate::client::Client;
use crate::error::Error;
use crate::output::note;
use demo::Demo;
use files::Plan;
use folders::Folders;

/// Follows files and serves them until told to stop.
///
/// # Errors
/// A glob that is none; a port in use; a data folder in use or out of order; whatever ended the agent or the collector early.
pub async fn run(args: args::Up) -> Result<(), Error> {
    shutdown::exit_on_panic();
    telemetry::init(&Logging { level: "warn".to_owned(), ..Logging::default() });
    telemetry::metrics();
    let asked_to_stop = shutdown::on_signals().map_err(failed("cannot wait for signals"))?;
    let working = std::env::current_dir().map_err(failed("cannot find the working folder"))?;
    let folders = Folders::new(working, &args.data_dir);

    let log = args.demo.then(|| demo::Log::open(&folders.demo())).transpose();
    let log = log.map_err(failed("cannot write the demo's log"))?;
    let plan = Plan::make(&args.globs, &folders, args.demo)?;
    let config = collector_config(&folders, &args);
    declared(&config)?;
    let server = Server::start(config).await;
    let server = server.map_err(|error| cannot_start(&error, args.listen))?;
    let listen = reachable(server.local_addr());
    let agent = Agent::start(agent_config(&plan, &folders, listen)?).await.map_err(failed("the agent cannot start"))?;
    let demo = log.map(Demo::start).transpose().map_err(failed("cannot write the demo's log"))?;

    say(&greeting::greeting(&plan, &folders, listen));
    let pulse = (args.demo || io::stdout().is_terminal()).then(|| Client::new(&url(listen))).transpose()?;
    notify::ready();
    Parts::start(server, agent, demo, pulse).run(asked_to_stop).await
}

/// Holds what runs.
struct Parts {
    tasks: TaskTracker,
    agent: JoinHandle<Result<Exit, Error>>,
    stop_agent: CancellationToken,
    collector: JoinHandle<Result<(), Error>>,
    stop_collector: CancellationToken,
    demo: Option<Demo>,
}

impl Parts {
    fn start(server: Server, agent: Agent, demo: Option<Demo>, pulse: Option<Client>) -> Self {
        let tasks = TaskTracker::new();
        let (stop_agent, stop_collector) = (CancellationToken::new(), CancellationToken::new());
        let (agent_stops, collector_stops) = (stop_agent.clone(), stop_collector.clone());
        let collector =
            tasks.spawn(async move { server.run(collector_stops).await.map_err(failed("the collector ended")) });
        let agent = tasks.spawn(async move { agent.run(agent_stops, false).await.map_err(failed("the agent ended")) });
        if let Some(client) = pulse {
            let ends = stop_agent.clone();
            tasks.spawn(async move { ends.run_until_cancelled(pulse::show(client)).await });
        }
        tasks.close();
        Self { tasks, agent, stop_agent, collector, stop_collector, demo }
    }

    /// Waits until the process is told to stop, or a part ends by itself, which is a failure.
    async fn run(mut self, asked_to_stop: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            // Being asked comes first: a part that ends because of the same signal has not failed.
            biased;
            () = asked_to_stop.cancelled() => self.stop().await,
            ended = &mut self.agent => {
                self.stop_agent.cancel();
                self.stop_collector.cancel();
                self.tasks.wait().await;
                Err(ended_early(joined(ended)))
            }
            ended = &mut self.collector => Err(ended_early(joined(ended))),
        }
    }

    /// Stops from the source to the mouth: nothing is read that could not be shipped, nothing shipped that could not be kept.
    async fn stop(self) -> Result<(), Error> {
        say("Stopping: shipping what was read, then closing the log.\n");
        notify::stopping();
        if let Some(demo) = self.demo {
            let stopped = tokio::task::spawn_blocking(|| demo.stop()).await;
            stopped
                .map_err(io::Error::other)
                .flatten()
                .unwrap_or_else(|error| note(format_args!("the demo had ended: {error}")));
        }
        self.stop_agent.cancel();
        let shipped = joined(self.agent.await);
        self.stop_collector.cancel();
        joined(self.collector.await)?;
        self.tasks.wait().await;
        match shipped? {
            Exit::Done | Exit::Incomplete => say("Stopped in order.\n"),
            Exit::Undrained => {
                say("Stopped in time, but not all that was read is stored; the next start goes on there.\n")
            }
            Exit::Fenced => return Err(fenced()),
        }
        Ok(())
    }
}

/// Takes a task's result. A task that panicked has ended the process already; one that was dropped did not finish.
fn joined<T>(ended: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    ended.unwrap_or_else(|error| Err(Error::Failed(error.to_string())))
}

fn ended_early<T>(outcome: Result<T, Error>) -> Error {
    outcome.err().unwrap_or_else(fenced)
}

fn fenced() -> Error {
    Error::Failed(
        "another agent of this machine took over; only one can follow its files into one collector".to_owned(),
    )
}

fn collector_config(folders: &Folders, args: &args::Up) -> Config {
    let mut config = Config { data_dir: folders.log(), ..Default::default() };
    config.http.listen = args.listen;
    config.http.allow_unencrypted = args.allow_unencrypted;
    config.access.allow_unauthenticated = args.allow_unauthenticated;
    config
}

/// Refuses to be reached by other machines unless that is wanted in so many words.
fn declared(config: &Config) -> Result<(), Error> {
    let flag = |exposed: &Exposed| match exposed {
        Exposed::Unencrypted(_) => "--allow-unencrypted",
        Exposed::Unauthenticated(_) => "--allow-unauthenticated",
    };
    let flags: Vec<&str> = config.exposed().iter().map(flag).collect();
    if flags.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "other machines reach {}, and whoever does may read, write and delete every topic, unencrypted. Listen on 127.0.0.1; or run skidway-collector, \
         which speaks TLS and asks who one is; or, if this is what you want, say so: {}",
        config.http.listen,
        flags.join(" ")
    )))
}

fn agent_config(plan: &Plan, folders: &Folders, collector: SocketAddr) -> Result<skidway_agent::Config, Error> {
    let mut config = skidway_agent::Config::default();
    config.agent.state_dir = folders.agent();
    config.agent.admin_listen = None;
    config.collector.urls = vec![url(collector).parse().map_err(failed("cannot name the collector"))?];
    config.inputs.clone_from(&plan.inputs);
    Ok(config)
}

/// Gives the address to talk to: a collector that listens everywhere is reached by loopback.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listening.port());
    }
    listening
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Explains why the collector cannot start, with the remedy if there is an easy one.
fn cannot_start(error: &(dyn std::error::Error + 'static), listen: SocketAddr) -> Error {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let in_use = causes
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse));
    if in_use {
        let other = SocketAddr::new(listen.ip(), listen.port().checked_add(1).unwrap_or(7071));
        let remedy = format!("stop what listens there, or choose another address: skidway up --listen {other}");
        return Error::Failed(format!(
            "cannot listen on {listen}: the address is in use. Perhaps another skidway runs; {remedy}"
        ));
    }
    failed("the collector cannot start")(error)
}

/// Says what failed and, in one line, why.
fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Error {
    move |error| Error::Failed(format!("{what}: {error}"))
}

/// Says something on the standard output. A closed terminal is no reason to stop following files.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _unheard = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_port_in_use_is_explained_with_its_remedy() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7070));
        let in_use = Wrapped(io::Error::from(io::ErrorKind::AddrInUse));
        let text = cannot_start(&in_use, listen).to_string();
        assert!(text.starts_with("cannot listen on 127.0.0.1:7070: the address is in use."), "{text}");
        assert!(text.ends_with("skidway up --listen 127.0.0.1:7071"), "{text}");

        let other = Wrapped(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(cannot_start(&other, listen).to_string(), "the collector cannot start: cannot open the door");
    }

    #[test]
    fn other_machines_are_let_in_only_in_so_many_words() {
        let folders = Folders::new("/home/me".into(), std::path::Path::new("data"));
        let declared_by = |listen: &str, allow_unencrypted, allow_unauthenticated| {
            let (globs, data_dir, listen) = (Vec::new(), "data".into(), listen.parse().unwrap());
            let args = args::Up { globs, demo: false, data_dir, listen, allow_unencrypted, allow_unauthenticated };
            declared(&collector_config(&folders, &args)).map_err(|error| error.to_string())
        };
        let error = declared_by("0.0.0.0:7070", false, false).unwrap_err();
        assert!(error.ends_with("say so: --allow-unencrypted --allow-unauthenticated"), "{error}");
        assert!(declared_by("[::]:7070", true, false).unwrap_err().ends_with("say so: --allow-unauthenticated"));
        assert_eq!(declared_by("0.0.0.0:7070", true, true), Ok(()));
        assert_eq!(declared_by("[::1]:7070", false, false), Ok(()));
    }

    #[test]
    fn a_collector_that_listens_everywhere_is_reached_by_loopback() {
        for (listening, reached) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "127.0.0.1:7"), ("10.0.0.1:7", "10.0.0.1:7")]
        {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), reached);
        }
    }
}
