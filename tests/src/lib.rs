//! The language the integration tests are written in: programs started and killed, files written, topics read, promises checked.
//!
//! Knows the programs by their public doors alone: command lines, configuration files, HTTP, and the log files they follow.

#![expect(clippy::print_stderr, reason = "a failing test says where its files and logs are")]

pub mod wait;
pub mod container;
pub mod scale;
pub mod sink;
pub mod stores;
pub mod faults;
pub mod browser;
pub mod hadoop;
pub mod kerberos;
pub mod hdfs;
pub mod report;
pub mod program;
pub mod tools;
pub mod launch;
pub mod machine;
pub mod http;
pub mod raw;
pub mod site;
pub mod collector;
pub mod agent;
pub mod up;
pub mod lines;
pub mod samples;
pub mod writer;
pub mod topic;
pub mod verify;
pub mod following;
pub mod proxy;
pub mod tls;
pub mod gate;
pub mod kill;
pub mod image;
pub mod bind;
pub mod fuse;
pub mod cgroup;
pub mod soak;
pub mod mixer;
pub mod arguments;
pub mod document;

pub use agent::Agent;
pub use browser::Browser;
pub use collector::Collector;
pub use document::Document;
pub use hdfs::Hdfs;
pub use http::{Answer, Client};
pub use kerberos::Kerberos;
pub use machine::Machine;
pub use program::Program;
pub use site::Site;
