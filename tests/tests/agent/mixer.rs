//! All of it together, from a seed.

use std::time::Duration;

use skidway_tests::{mixer, scale};

/// Extra: everything at once. `SKIDWAY_TEST_SEED` repeats a run, as far as the machine does; the quick tier repeats one, `bench/soak agent` and
/// the long tier look for new faults.
#[test]
fn whatever_is_done_to_files_and_programs_each_line_arrives_once_or_its_loss_is_told() {
    let length = scale::duration(Duration::from_secs(15 * 60), Duration::from_secs(1));
    let summary = mixer::rounds(scale::seed_unless_quick(1000), length, |line| eprintln!("{line}"));
    eprintln!("{summary}");
}
