//! The real log lines under `bench/data`, for programs that measure.

use std::path::Path;

/// Gives all lines that are not empty, file by file in the order of their names, without their ends.
///
/// # Panics
/// When the files are not there.
pub fn lines() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/data");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the sample logs").flatten().map(|it| it.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        let text = std::fs::read(path).expect("a sample log");
        lines.extend(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
    }
    lines
}

/// Repeats lines, each with its end, to at least so many bytes.
pub fn repeated(lines: &[Vec<u8>], bytes: usize) -> Vec<u8> {
    let sample: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    let mut repeated = Vec::with_capacity(bytes + sample.len());
    while repeated.len() < bytes {
        repeated.extend_from_slice(&sample);
    }
    repeated
}
