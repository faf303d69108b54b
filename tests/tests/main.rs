//! All integration tests, in one program. A new test goes to the module that names its promise:
//!
//! | module | promise |
//! |---|---|
//! | `agent` | what the agent must survive, scenario by scenario; modules of its own |
//! | `access` | who may do what: tokens, scopes, enrolment, quotas, the audit topic; modules of its own |
//! | `full_disk` | a real disk filled up, freed, broken down and repaired under load |
//! | `api` | the HTTP interface against its own description: schemathesis, and each refusal that it names |
//! | `browser` | web pages in Chromium: events sent, lines shown live, pages of others kept out |
//! | `groups` | consumer groups: sharing, committing, moving; modules of their own |
//! | `subscription` | readers: pages, streams, tokens, many topics, filters, codings; modules of its own |
//! | `damage` | a disk that loses bits: what readers are told, what an operator can do |
//! | `raw_batches` | stored batches byte for byte; batches decoded once for all readers |
//! | `event_sourcing` | one key's events, writes that expect a key's offset, tables |
//! | `real_logs` | sixteen real logs through `skidway up` |
//! | `http_contract` | topics, producing, problems: the rest of the HTTP interface |
//! | `bad_input` | what must not be taken: bombs, tricks, silence, very many connections; modules of its own |
//! | `compaction` | topics compacted by key: small, and no last value lost, whatever is killed |
//! | `segment_files` | what is on disk, read by kafka-python and by Apache Kafka itself |
//! | `queues` | records given away one by one: leases, dead letters, order, workers and collector killed; modules of their own |
//! | `tls` | TLS on the collector's port: who gets in, certificates exchanged while connections go on, what is refused |
//! | `sinks` | topics as files, every record in exactly one; modules of its own |
//! | `documentation` | the commands of pages such as `docs/subscribing.md`; other pages are run where their subject is tested |
//! | `log_level` | which lines collector and agent log, changed while they run |
//! | `doctor` | what is wrong is found and said; a support bundle keeps secrets |
//! | `examples` | the programs under `examples`: members of a group in four languages, and the collector killed |
//! | `commands` | `skidway tail`, `produce`, `topics`, `agents` |
//! | `configuration_errors` | what we say, and how we exit, when something is configured wrongly |
//! | `rolling` | upgrades one by one: agents older and newer than the collector, what the build before has stored |
//! | `package` | the packages and units: contents, exposure, installation on a clean machine; modules of its own |
//! | `tidy` | the shape of the source itself |
//!
//! They use the programs' public doors only (crate `skidway-tests` gives the words) and never each other.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod access;
mod agent;
mod log_level;
mod full_disk;
mod subscription;
mod browser;
mod api;
mod groups;
mod raw_batches;
mod damage;
mod event_sourcing;
mod real_logs;
mod http_contract;
mod bad_input;
mod compaction;
mod segment_files;
mod queues;
mod tls;
mod sinks;
mod documentation;
mod doctor;
mod examples;
mod commands;
mod configuration_errors;
mod rolling;
mod package;
mod tidy;
