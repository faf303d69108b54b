//! A mistake in a configuration, as its author will read it.

use std::fmt;

/// Tells where a value was written. Orders as people read: the file from top to bottom, then the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Nowhere in particular: a key that is missing, a file that cannot be read.
    Nowhere,
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// Holds one mistake: where, which key, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub(super) origin: Origin,
    pub(super) file: String,
    pub(super) key: String,
    pub(super) reason: String,
}

/// Shows `agent.toml:12: agent.idd: unknown key; did you mean "id"?`, or the variable's name in place of file and line.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Nowhere => write!(f, "{}: ", self.file)?,
            Origin::Line(line) => write!(f, "{}:{line}: ", self.file)?,
            Origin::Variable(name) => write!(f, "{name}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// Holds every mistake of a configuration, at least one. Shows one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Sorts mistakes as people read; none is success.
    pub(super) fn check(mut mistakes: Vec<Mistake>) -> Result<(), Self> {
        mistakes.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
        if mistakes.is_empty() { Ok(()) } else { Err(Self(mistakes)) }
    }

    /// Makes the one mistake that stopped all reading.
    pub(super) fn one(file: &str, origin: Origin, reason: String) -> Self {
        Self(vec![Mistake { origin, file: file.to_owned(), key: String::new(), reason }])
    }

    /// Gives the mistakes in the order they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{mistake}")?;
        }
        Ok(())
    }
}

/// Finds the known word that `written` was most likely meant to be.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = (written.chars().count() / 3).clamp(1, 3);
    let candidates = known.into_iter().map(|word| (slips(written, word), word));
    candidates.filter(|(slips, _)| *slips <= slips_max).min().map(|(_, word)| word)
}

/// Counts the slips of the pen between two words: a letter too many, missing, another, or swapped with its neighbour.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_as_a_typist_would() {
        let cases = [
            ("id", "id", 0),
            ("idd", "id", 1),
            ("di", "id", 1),
            ("", "abc", 3),
            ("lisetn", "listen", 1),
            ("ab", "xy", 2),
        ];
        for (a, b, count) in cases {
            assert_eq!(slips(a, b), count, "{a} / {b}");
            assert_eq!(slips(b, a), count, "{b} / {a}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["listen", "id", "state_dir", "include", "exclude"];
        let cases = [
            ("idd", Some("id")),
            ("listne", Some("listen")),
            ("statedir", Some("state_dir")),
            ("inclde", Some("include")),
            ("retention", None),
            ("x", None),
        ];
        for (written, meant) in cases {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
