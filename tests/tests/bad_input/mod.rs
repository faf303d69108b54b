//! What a server that anybody can connect to must take without harm: each attack is answered 4xx or cut off, costs bounded memory, stores
//! nothing, and others' requests are answered meanwhile.
//!
//! | module | attack |
//! |---|---|
//! | `heads` | request lines, headers, paths: too long, too many, malformed, smuggled |
//! | `bodies` | bodies: slow, cut off, too large, encoded, JSON bombs, chunks |
//! | `frames` | the agents' frames and the batches in them: lengths, counts, checksums, decompression bombs |
//! | `names` | names that would be paths |
//! | `connections` | very many, silent, half a request, never reading |
//! | `agent` | the agent's admin port |
//! | `limits` | none: the page that tells of the bounds |

mod heads;
mod bodies;
pub(crate) mod frames;
mod names;
mod connections;
mod agent;
mod limits;

use std::time::Duration;

use serde_json::json;
use skidway_tests::raw::{Raw, Reaction};
use skidway_tests::{Client, Collector, Site};

/// No attack waits longer for what becomes of it. What is answered is answered in milliseconds; the rest is for loaded machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// Memory that all attacks of one test together may cost: what the allocator keeps, and a few bodies.
pub(crate) const GROWTH_BYTES_MAX: u64 = 128 << 20;

/// Is a collector under attack, beside others' requests.
struct Victim {
    site: Site,
    collector: Collector,
    client: Client,
    memory_before: u64,
}

impl Victim {
    /// Starts one with further keys of `[http]`, and with a topic `t` of one record.
    fn start(http: &str) -> Self {
        let site = Site::new();
        let mut collector = site.collector().with(http).started();
        let client = collector.client();
        client.put("/v1/topics/t", &json!({"partitions": 1}));
        assert_eq!(client.post("/v1/topics/t/records", "text/plain", "a line\n").status, 200);
        let memory_before = memory(collector.program().pid());
        Self { site, collector, client, memory_before }
    }

    fn connect(&self) -> Raw {
        Raw::connect(self.collector.port())
    }

    /// Sends bytes on a connection of their own, and says what the collector makes of them.
    fn reaction_to(&self, bytes: &[u8]) -> Reaction {
        let mut raw = self.connect();
        raw.send(bytes);
        raw.reaction(PATIENCE)
    }

    /// Makes sure that others are answered, who come now: a connection from before may have had to make room.
    #[track_caller]
    fn serves_others(&self) {
        assert_eq!(self.collector.client().get("/v1/topics/t/records?from=earliest").status, 200);
    }

    /// Makes sure that nothing came of it all: no record, no topic, no 5xx, no panic, no memory.
    #[track_caller]
    fn is_unharmed(&mut self) {
        let topics = self.client.get("/v1/topics").json();
        assert_eq!(topics, json!({"topics": [{"name": "t", "partitions": 1}]}), "no topic came of it");
        self.is_well();
        let page = self.client.get("/v1/topics/t/records?from=earliest").json();
        assert_eq!(page["records"].as_array().map(Vec::len), Some(1), "no record came of it: {page}");
    }

    /// Makes sure that the collector runs as before: no 5xx, no panic, no memory.
    #[track_caller]
    fn is_well(&mut self) {
        let memory = memory(self.collector.program().pid());
        let grown = memory.saturating_sub(self.memory_before);
        assert!(grown <= GROWTH_BYTES_MAX, "memory grew by {} MiB", grown >> 20);
        let metrics = self.client.get("/metrics").text();
        let failed: Vec<_> = metrics
            .lines()
            .filter(|line| line.starts_with("skidway_collector_http_requests_total") && line.contains("status=\"5"))
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
        let said = self.collector.program().said();
        assert!(!said.contains("panicked"), "{said}");
        assert!(self.collector.program().runs());
    }
}

/// Gives the memory that a process takes up now, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("Linux tells") << 10
}

/// Makes the head of a request to produce to `t`, with further headers.
fn produce(headers: &str) -> String {
    format!("POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n{headers}\r\n")
}

/// Makes a whole request to produce to `t`.
fn produce_body(media_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
