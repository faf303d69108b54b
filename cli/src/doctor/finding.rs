//! What the doctor says: how bad, what, why it matters, and what to do. Finds nothing itself.

use std::fmt;

use serde::Serialize;

/// Says how bad something is. The worst of all decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Will become a problem, or is one for somebody.
    Warning,
    /// Something does not work, or lines are lost.
    Problem,
}

/// Is one thing that the doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, such as `disk` or `sink archive`.
    pub about: String,
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do, with a command if there is one.
    pub todo: String,
}

impl Finding {
    /// Makes a problem.
    pub fn problem(about: impl Into<String>, what: impl Into<String>, why: &str, todo: impl Into<String>) -> Self {
        Self::new(Severity::Problem, about, what, why, todo)
    }

    /// Makes a warning.
    pub fn warning(about: impl Into<String>, what: impl Into<String>, why: &str, todo: impl Into<String>) -> Self {
        Self::new(Severity::Warning, about, what, why, todo)
    }

    /// Makes a note.
    pub fn note(about: impl Into<String>, what: impl Into<String>, why: &str, todo: impl Into<String>) -> Self {
        Self::new(Severity::Note, about, what, why, todo)
    }

    fn new(
        severity: Severity,
        about: impl Into<String>,
        what: impl Into<String>,
        why: &str,
        todo: impl Into<String>,
    ) -> Self {
        Self { severity, about: about.into(), what: what.into(), why: why.to_owned(), todo: todo.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "WARNING",
            Severity::Problem => "PROBLEM",
        };
        let Self { about, what, why, todo, .. } = self;
        writeln!(f, "{severity}  {about}: {what}\n    why: {why}\n    do:  {todo}")
    }
}

/// Holds everything that was found, the worst first.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was looked at.
    pub looked_at: Vec<String>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Sorts what was found.
    pub fn new(looked_at: Vec<String>, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self { looked_at, findings }
    }

    /// Gives the exit code: 0 if nothing is wrong (notes are nothing), 1 for warnings, 2 for problems.
    pub fn code(&self) -> u8 {
        match self.findings.first().map(|worst| worst.severity) {
            None | Some(Severity::Note) => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Problem) => 2,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "looked at {}", self.looked_at.join(", "))?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))?;
        if self.code() == 0 {
            writeln!(f, "\nnothing is wrong")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_is_the_exit_code() {
        let (note, warning) = (Finding::note("a", "b", "c", "d"), Finding::warning("a", "b", "c", "d"));
        let problem = Finding::problem("disk", "it is full", "nothing is stored", "make room");
        for (findings, code) in [
            (vec![], 0),
            (vec![note.clone()], 0),
            (vec![note.clone(), warning.clone()], 1),
            (vec![note, problem.clone(), warning], 2),
        ] {
            assert_eq!(Report::new(vec![], findings).code(), code);
        }
        let said = Report::new(vec!["x".to_owned()], vec![problem]).to_string();
        let expected = "looked at x\n\nPROBLEM  disk: it is full\n    why: nothing is stored\n    do:  make room\n";
        assert_eq!(said, expected);
        assert!(Report::new(vec![], vec![]).to_string().contains("nothing is wrong"));
    }
}
