//! Reads arbitrary text as the configuration of a collector and of an agent: mistakes or a configuration, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidway_daemon::config::Document;

fuzz_target!(|text: &str| {
    if let Ok(document) = Document::parse("fuzz", text) {
        let _mistakes = skidway_collector::config::Config::read(document);
    }
    if let Ok(document) = Document::parse("fuzz", text) {
        let _config = skidway_agent::Config::read(&document.section());
        let _mistakes = document.finish();
    }
});
