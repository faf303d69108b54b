//! What bytes a record must have for a filter to be true of it: they are looked for over whole batches, before any record is.
//!
//! Pure. An answer may be `None` for want of cleverness, never wrong: a record that matches has one of the needles.

use memchr::memmem::Finder;
use regex_syntax::hir::{Hir, HirKind};

use crate::read::filter::expression::{Comparison, Expression, Literal};

/// Shorter needles are in too many records to be worth it.
const NEEDLE_BYTES_MIN: usize = 3;

/// More needles than this are not looked for one after the other.
const NEEDLES_MAX: usize = 8;

/// Begins, in JSON, the other way of writing any character.
const JSON_ESCAPE: &[u8] = b"\\u";

/// Holds needles, one of which a matching record has.
#[derive(Debug)]
pub(super) struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// Finds what a filter needs; `None` if any record might match.
    pub(super) fn of(filter: &Expression) -> Option<Self> {
        let mut needles = needed(filter)?;
        needles.sort();
        needles.dedup();
        let is_rare = |needle: &Vec<u8>| needle.len() >= NEEDLE_BYTES_MIN || needle == JSON_ESCAPE;
        let fits = !needles.is_empty() && needles.len() <= NEEDLES_MAX && needles.iter().all(is_rare);
        fits.then(|| Self(needles.into_iter().map(|needle| Finder::new(&needle).into_owned()).collect()))
    }

    /// Begins a search over a batch's records.
    pub(super) fn search<'a>(&'a self, body: &'a [u8]) -> Search<'a> {
        let next = self.0.iter().map(|finder| finder.find(body)).collect();
        Search { finders: &self.0, body, next }
    }
}

/// Goes through a body from needle to needle.
pub(super) struct Search<'a> {
    finders: &'a [Finder<'static>],
    body: &'a [u8],
    /// Where each needle is next.
    next: Vec<Option<usize>>,
}

impl Search<'_> {
    /// Finds the first place at or after `from` where a needle begins.
    pub(super) fn from(&mut self, from: usize) -> Option<usize> {
        for (finder, next) in self.finders.iter().zip(&mut self.next) {
            if next.is_some_and(|at| at < from) {
                *next = self.body.get(from..).and_then(|rest| finder.find(rest)).map(|at| from + at);
            }
        }
        self.next.iter().flatten().min().copied()
    }
}

/// Gives texts one of which a record must have to match.
fn needed(expression: &Expression) -> Option<Vec<Vec<u8>>> {
    match expression {
        Expression::And(left, right) => better(needed(left), needed(right)),
        Expression::Or(left, right) => Some([needed(left)?, needed(right)?].concat()),
        Expression::Test(_, of, part) => in_stored(of, part),
        Expression::Matches(of, regex) if of.is_stored() => needed_by_regex(&regex_syntax::parse(regex.as_str()).ok()?),
        Expression::Compare(Comparison::Equal, left, right) => {
            in_stored(left, right).or_else(|| in_stored(right, left))
        }
        Expression::In(element, list) => {
            let Expression::List(elements) = &**list else { return in_stored(list, element) };
            let each = elements.iter().map(|one| in_stored(element, one));
            each.collect::<Option<Vec<_>>>().map(|each| each.concat())
        }
        _ => None,
    }
}

/// Gives what a stored text needs to have a constant in it.
fn in_stored(of: &Expression, part: &Expression) -> Option<Vec<Vec<u8>>> {
    let Expression::Literal(Literal::Text(text)) = part else { return None };
    if text.is_empty() {
        return None;
    }
    if of.is_stored() {
        return Some(vec![text.clone()]);
    }
    // JSON writes these otherwise, or may.
    let is_plain = text.iter().all(|byte| *byte >= 0x20 && !b"\"\\/".contains(byte));
    (of.is_in_json() && is_plain).then(|| vec![text.clone(), JSON_ESCAPE.to_vec()])
}

/// Prefers the longer needles: they are rarer.
fn better(one: Option<Vec<Vec<u8>>>, other: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    let weakest = |needles: &Vec<Vec<u8>>| {
        needles.iter().filter(|needle| *needle != JSON_ESCAPE).map(Vec::len).min().unwrap_or(0)
    };
    match (one, other) {
        (Some(one), Some(other)) => Some(if weakest(&other) > weakest(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Gives what a regular expression cannot do without.
fn needed_by_regex(regex: &Hir) -> Option<Vec<Vec<u8>>> {
    match regex.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Capture(capture) => needed_by_regex(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => needed_by_regex(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().map(needed_by_regex).fold(None, better),
        HirKind::Alternation(parts) => {
            let each = parts.iter().map(needed_by_regex);
            each.collect::<Option<Vec<_>>>().map(|each| each.concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::filter::parser::parse;

    #[test]
    fn what_a_filter_cannot_do_without_is_known() {
        for (filter, expected) in [
            (r#"value.contains("abc")"#, Some(&["abc"][..])),
            (r#"value.contains("ab") && headers.host == "web-1""#, Some(&["web-1"])),
            (r#"value.contains("ab") || key == "cd""#, Some(&["ab", "cd"])),
            (r#"value.contains("ab") || partition == 1"#, None),
            (r#"!value.contains("ab")"#, None),
            (r#"headers.path in ["/a", "/b"]"#, Some(&["/a", "/b"])),
            (r#"topic == "app" && value.startsWith("x")"#, Some(&["x"])),
            (r#"value.matches("a+(timeout|refused) [0-9]")"#, Some(&["timeout", "refused"])),
            (r#"value.matches("(?i)timeout")"#, None),
            (r#"value.matches("x*")"#, None),
            (r#"json.level == "error""#, Some(&["error", "\\u"])),
            (r#"json.path == "a/b""#, None),
            (r#"json.level != "error""#, None),
            (r#"value.contains("")"#, None),
            ("true", None),
        ] {
            let expected = expected.map(|all| all.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(needed(&parse(filter).unwrap()), expected, "{filter}");
        }
    }
}
