//! `docs/limits.md` says what `configs/collector.toml` says: each bound that has a key stands there with its default.

use std::path::Path;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// Finds the default of a key such as `http.body_bytes_max`.
fn default_of(configs: &str, key: &str) -> Option<String> {
    let (section, name) = key.split_once('.')?;
    let mut inside = false;
    for line in configs.lines() {
        let heading = line.trim_start_matches(['#', ' ']).trim_matches(['[', ']']);
        if line.trim_start_matches(['#', ' ']).starts_with('[') {
            inside = heading == section;
        }
        let written =
            line.strip_prefix('#').unwrap_or(line).strip_prefix(name).and_then(|rest| rest.trim().strip_prefix('='));
        if let Some(value) = written.filter(|_| inside) {
            return Some(value.trim().trim_matches('"').to_owned());
        }
    }
    None
}

#[test]
fn each_limit_with_a_key_is_told_with_its_default() {
    let (limits, configs) = (file("docs/limits.md"), file("configs/collector.toml"));
    let mut keys = 0;
    for row in limits.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(named) = cells.get(3).filter(|cell| cells.len() == 6 && cell.starts_with('`')) else { continue };
        for (key, bound) in named.split(", ").zip(cells[2].split(", ")) {
            let key = key.trim_matches('`');
            let default =
                default_of(&configs, key).unwrap_or_else(|| panic!("{key} is no key of configs/collector.toml"));
            assert_eq!(bound.split_whitespace().next(), Some(default.as_str()), "{row}");
            keys += 1;
        }
    }
    assert!(keys > 15, "{keys} keys");
}
