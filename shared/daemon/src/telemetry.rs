//! What a process says of itself: log lines on stderr, metrics for Prometheus.
//!
//! Both are installed once per process, so two programs in one process (`skidway up`) share them.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use crate::config::Section;
use crate::{VERSION, log_level, process};

/// Says how log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line for people, UTC timestamp first.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Holds the keys of a `[log]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// `error`, `warn`, `info` (default), `debug` or `trace`, or a filter such as `info,skidway_agent=debug`. Raise it to
    /// see why a file is not followed. The environment variable `RUST_LOG` wins.
    pub level: String,
    /// `text` (default) or `json`.
    pub format: LogFormat,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Logging {
    /// Reads `level` and `format` of a `[log]` table.
    pub fn read(log: &Section<'_>) -> Self {
        let default = Self::default();
        let level = log.get("level", default.level);
        if let Err(reason) = log_level::parse(&level) {
            log.mistake("level", reason);
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self { level, format: log.choice("format", default.format, &formats) }
    }
}

/// Starts logging to stderr. Later calls in the same process change nothing. What is logged can be changed by [`log_level`].
pub fn init(logging: &Logging) {
    let (filter, keep) = log_level::begin(&logging.level);
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(coloured);
    let lines = match logging.format {
        LogFormat::Text => lines.compact().boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error says that logging runs already.
    if Registry::default().with(filter).with(lines).try_init().is_ok() {
        keep();
    }
}

/// Gives the process's metrics, to be rendered for Prometheus. The first call installs the recorder.
///
/// Histograms whose name ends in `_seconds` or `_bytes` get buckets that fit; give every other one such a name.
///
/// # Panics
/// If the process has another metrics recorder already: that is a mistake in the program.
pub fn metrics() -> &'static PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| {
        let handle = recorder().install_recorder().expect("nobody else installs a metrics recorder");
        metrics::describe_gauge!("skidway_build_info", "Always 1; the labels tell the build");
        metrics::gauge!("skidway_build_info", "version" => VERSION).set(1.0);
        process::describe();
        keep_up(handle.clone());
        handle
    })
}

/// Gives the metrics as Prometheus scrapes them, those of the process itself brought up to date.
pub fn render() -> String {
    let handle = metrics();
    process::show();
    handle.render()
}

/// From 100 µs (one fsync on a good disk) to 10 s (a disk or a network in trouble).
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From 1 KiB (a lonely line) to 16 MiB (the largest page).
const BYTES: [f64; 8] = [1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

fn recorder() -> PrometheusBuilder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES))
        .expect("the buckets above are not empty")
}

/// Folds observations into their histograms now and then: between two scrapes, or without any, they would pile up. Ends log levels that were
/// lent, too.
fn keep_up(handle: PrometheusHandle) {
    let upkeep = move || {
        loop {
            std::thread::park_timeout(Duration::from_secs(5));
            handle.run_upkeep();
            log_level::end_what_was_lent();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("telemetry-upkeep".to_owned()).spawn(upkeep) {
        tracing::warn!(%error, "metrics are folded only when they are scraped, and log levels are not lent but given");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    #[test]
    fn metrics_name_the_build_and_are_installed_once() {
        assert!(metrics().render().contains(&format!("skidway_build_info{{version=\"{VERSION}\"}} 1")));
        metrics::histogram!("probe_seconds").record(0.002);
        assert!(metrics().render().contains("probe_seconds_bucket{le=\"0.0025\"} 1"));
    }

    #[test]
    fn a_log_table_is_read_and_its_mistakes_are_named() {
        let good = Document::parse("f", "level = 'debug,hyper=warn'\nformat = 'json'").unwrap();
        let logging = Logging::read(&good.section());
        assert_eq!(logging, Logging { level: "debug,hyper=warn".to_owned(), format: LogFormat::Json });

        let bad = Document::parse("f", "level = 'loud=='\nformat = 'xml'").unwrap();
        Logging::read(&bad.section());
        let mistakes = bad.finish().unwrap_err().to_string();
        assert!(mistakes.contains("f:1: level: expected error, warn"), "{mistakes}");
        assert!(mistakes.contains("f:2: format: expected \"text\" or \"json\", found \"xml\""), "{mistakes}");
    }
}
