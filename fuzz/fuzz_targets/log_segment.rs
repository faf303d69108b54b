//! Opens a log with a damaged segment: what is read is an error or a batch, never a panic.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use skidway_disk::FaultyDisk;
use skidway_fuzz::{check, file, folder, seal_segment};

static FOLDER: LazyLock<(FaultyDisk, PathBuf)> = LazyLock::new(|| {
    let folder = folder();
    let path = file(&folder, "a-0/00000000000000000000.log");
    (folder, path)
});

fuzz_target!(|data: &[u8]| check(&FOLDER.0, &FOLDER.1, seal_segment, data));
