//! How a program treats its log file: which operations it knows and how often each comes. Follows from the seed.

use rand::RngExt;
use rand::rngs::StdRng;

/// Is one thing that can be done to a family of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Write some lines.
    Write,
    /// Write very many.
    Burst,
    /// Write half a line; the rest comes later.
    Half,
    /// Rotate as the style has it.
    Rotate,
    /// Compress a rotated file.
    Pack,
    /// Empty the file in place.
    Truncate,
    /// Remove the file and begin another.
    Recreate,
    /// Remove the file, write on in it for a while, and begin another.
    RemoveHeld,
    /// Make a file that is soon removed.
    ShortLived,
    /// Move a file out of the inputs' globs, and back later.
    MoveAway,
    /// Give the file a second name.
    Link,
}

/// Says how a file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// `w.log` → `w.log.1` → `w.log.2` …
    Chain,
    /// `w.log` → `w.log-20260101`.
    Dated,
    /// `w-20260101.log`, then `w-20260102.log`: nothing is renamed.
    Fresh,
    /// Copied to `w.log.1` and truncated.
    Copy,
}

/// Holds the habits of one program.
#[derive(Debug, Clone)]
pub struct Style {
    /// How it rotates.
    pub rotation: Rotation,
    /// It opens its file with `O_APPEND`.
    pub appends: bool,
    /// Some lines go to the rotated file, which is still open.
    pub writes_late: bool,
    /// Lines are written between the copying and the truncation.
    pub writes_in_window: bool,
    /// Each of its files begins with the same line.
    pub has_banner: bool,
    /// Rotated files kept.
    pub keep: usize,
    weights: Vec<(Operation, u32)>,
}

impl Style {
    /// Draws one.
    pub fn draw(random: &mut StdRng) -> Self {
        use Operation as O;
        let rotations =
            [Rotation::Chain, Rotation::Chain, Rotation::Dated, Rotation::Fresh, Rotation::Copy, Rotation::Copy];
        let rotation = rotations[random.random_range(0..rotations.len())];
        let mut weights = vec![(O::Write, 200), (O::Burst, 1), (O::Rotate, 8)];
        for (operation, weight, odds) in [
            (O::Half, 12, 0.5),
            (O::Pack, 8, 0.6),
            (O::Truncate, 2, 0.25),
            (O::Recreate, 4, 0.25),
            (O::RemoveHeld, 4, 0.25),
            (O::ShortLived, 4, 0.25),
            (O::MoveAway, 4, 0.3),
            (O::Link, 2, 0.3),
        ] {
            if random.random_bool(odds) {
                weights.push((operation, weight));
            }
        }
        Self {
            rotation,
            appends: random.random_bool(0.75),
            writes_late: random.random_bool(0.5),
            writes_in_window: random.random_bool(0.4),
            has_banner: random.random_bool(0.3),
            keep: random.random_range(1..5),
            weights,
        }
    }

    /// Draws the next operation.
    pub fn next(&self, random: &mut StdRng) -> Operation {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut left = random.random_range(0..total);
        for (operation, weight) in &self.weights {
            if left < *weight {
                return *operation;
            }
            left -= weight;
        }
        Operation::Write
    }
}
