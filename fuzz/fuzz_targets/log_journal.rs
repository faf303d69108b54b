//! Opens a log whose journal is damaged: an error or a log that can be used, never a panic.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use skidway_disk::FaultyDisk;
use skidway_fuzz::{check, file, folder, seal_journal};

static FOLDER: LazyLock<(FaultyDisk, PathBuf)> = LazyLock::new(|| {
    let folder = folder();
    let path = file(&folder, ".journal");
    (folder, path)
});

fuzz_target!(|data: &[u8]| check(&FOLDER.0, &FOLDER.1, seal_journal, data));
