//! Whether one record matches: a filter's tree, walked over a record whose bytes are borrowed.
//!
//! Pure. What a record has not, or what cannot be compared, is a [`Fault`]; `||` and `&&` look past it if the other side decides.

use std::cell::OnceCell;
use std::cmp::Ordering;

use serde_json::Value;
use skidway_record::{Offset, Record, TopicPartition};

use crate::read::filter::expression::{Comparison, Expression, Literal, Test, Variable};

/// Says that an expression has no value for this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault;

/// Is one record, seen by filters.
pub(super) struct Subject<'r> {
    of: &'r TopicPartition,
    offset: Offset,
    record: &'r Record<'r>,
    json: OnceCell<Option<Value>>,
}

/// Is a value, its bytes borrowed from the filter or the record.
#[derive(Debug, Clone, Copy)]
enum Known<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a [u8]),
    Time(i64),
    /// An array or an object.
    Json(&'a Value),
    List(&'a [Expression]),
    Headers,
}

impl<'r> Subject<'r> {
    pub(super) fn new(of: &'r TopicPartition, offset: Offset, record: &'r Record<'r>) -> Self {
        Self { of, offset, record, json: OnceCell::new() }
    }

    /// Tells whether a filter is true of the record.
    pub(super) fn matches(&self, filter: &Expression) -> Result<bool, Fault> {
        self.truth(filter)
    }

    fn truth(&self, expression: &Expression) -> Result<bool, Fault> {
        match self.value(expression)? {
            Known::Bool(truth) => Ok(truth),
            _ => Err(Fault),
        }
    }

    fn value<'a>(&'a self, expression: &'a Expression) -> Result<Known<'a>, Fault> {
        let truth = match expression {
            Expression::Literal(literal) => return Ok(constant(literal)),
            Expression::Variable(variable) => return self.variable(*variable),
            Expression::Member(of, name) => return self.member(of, name)?.ok_or(Fault),
            Expression::Element(of, index) => return self.element(of, index),
            Expression::List(elements) => return Ok(Known::List(elements)),
            Expression::Size(of) => return self.size(of),
            Expression::Has(member) => self.has(member),
            Expression::Not(inner) => !self.truth(inner)?,
            Expression::And(left, right) => self.decided(left, right, false)?,
            Expression::Or(left, right) => self.decided(left, right, true)?,
            Expression::Compare(comparison, left, right) => self.compare(*comparison, left, right)?,
            Expression::In(element, list) => self.is_in(element, list)?,
            Expression::Test(test, of, part) => test_text(*test, self.text(of)?, self.text(part)?),
            Expression::Matches(of, regex) => regex.is_match(self.text(of)?),
        };
        Ok(Known::Bool(truth))
    }

    /// Evaluates `||` (`by` is true) or `&&` (false): either side decides alone, whatever is wrong with the other.
    fn decided(&self, left: &Expression, right: &Expression, by: bool) -> Result<bool, Fault> {
        let left = self.truth(left);
        if left == Ok(by) {
            return Ok(by);
        }
        match self.truth(right) {
            Ok(right) if right == by => Ok(by),
            right => left.and(right),
        }
    }

    fn variable(&self, variable: Variable) -> Result<Known<'_>, Fault> {
        let bytes = |bytes: Option<&'r [u8]>| bytes.map_or(Known::Null, Known::Text);
        Ok(match variable {
            Variable::Topic => Known::Text(self.of.topic.as_str().as_bytes()),
            Variable::Partition => Known::Int(i64::from(self.of.partition.0)),
            Variable::Offset => Known::Int(self.offset.0 as i64),
            Variable::Timestamp => Known::Time(self.record.timestamp_ms),
            Variable::Key => bytes(self.record.key),
            Variable::Value => bytes(self.record.value),
            Variable::Headers => Known::Headers,
            Variable::Json => self.json().map(of_json).ok_or(Fault)?,
        })
    }

    /// Gives the record's value as JSON, parsed once; `None` if it is none.
    fn json(&self) -> Option<&Value> {
        let parse = || serde_json::from_slice(self.record.value?).ok();
        self.json.get_or_init(parse).as_ref()
    }

    /// Gives a member; `None` if it is not there.
    fn member<'a>(&'a self, of: &'a Expression, name: &str) -> Result<Option<Known<'a>>, Fault> {
        match self.value(of)? {
            Known::Headers => {
                let header = self.record.headers().find(|header| header.key == name.as_bytes());
                Ok(header.map(|header| header.value.map_or(Known::Null, Known::Text)))
            }
            Known::Json(Value::Object(members)) => Ok(members.get(name).map(of_json)),
            _ => Err(Fault),
        }
    }

    fn has(&self, member: &Expression) -> bool {
        match member {
            Expression::Member(of, name) => self.member(of, name).is_ok_and(|member| member.is_some()),
            _ => false,
        }
    }

    fn element<'a>(&'a self, of: &'a Expression, index: &'a Expression) -> Result<Known<'a>, Fault> {
        let (Known::Json(Value::Array(elements)), Known::Int(index)) = (self.value(of)?, self.value(index)?) else {
            return Err(Fault);
        };
        let element = usize::try_from(index).ok().and_then(|index| elements.get(index));
        element.map(of_json).ok_or(Fault)
    }

    fn size<'a>(&'a self, of: &'a Expression) -> Result<Known<'a>, Fault> {
        let size = match self.value(of)? {
            Known::Text(text) => std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count()),
            Known::List(elements) => elements.len(),
            Known::Json(Value::Array(elements)) => elements.len(),
            Known::Json(Value::Object(members)) => members.len(),
            Known::Headers => self.record.header_count() as usize,
            _ => return Err(Fault),
        };
        Ok(Known::Int(size as i64))
    }

    fn text<'a>(&'a self, expression: &'a Expression) -> Result<&'a [u8], Fault> {
        match self.value(expression)? {
            Known::Text(text) => Ok(text),
            _ => Err(Fault),
        }
    }

    fn compare(&self, comparison: Comparison, left: &Expression, right: &Expression) -> Result<bool, Fault> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        let order = || order(left, right).ok_or(Fault);
        Ok(match comparison {
            Comparison::Equal => self.equal(left, right),
            Comparison::NotEqual => !self.equal(left, right),
            Comparison::Less => order()? == Ordering::Less,
            Comparison::LessOrEqual => order()? != Ordering::Greater,
            Comparison::Greater => order()? == Ordering::Greater,
            Comparison::GreaterOrEqual => order()? != Ordering::Less,
        })
    }

    /// Tells whether two values are the same; of different kinds they are not.
    fn equal(&self, left: Known<'_>, right: Known<'_>) -> bool {
        match (left, right) {
            (Known::Null, Known::Null) => true,
            (Known::Bool(left), Known::Bool(right)) => left == right,
            (Known::Json(left), Known::Json(right)) => left == right,
            (Known::List(elements), Known::Json(Value::Array(values)))
            | (Known::Json(Value::Array(values)), Known::List(elements)) => {
                let same =
                    |(element, value)| self.value(element).is_ok_and(|element| self.equal(element, of_json(value)));
                elements.len() == values.len() && elements.iter().zip(values).all(same)
            }
            (left, right) => order(left, right) == Some(Ordering::Equal),
        }
    }

    fn is_in(&self, element: &Expression, list: &Expression) -> Result<bool, Fault> {
        let element = self.value(element)?;
        Ok(match self.value(list)? {
            Known::List(elements) => {
                elements.iter().any(|one| self.value(one).is_ok_and(|one| self.equal(element, one)))
            }
            Known::Json(Value::Array(elements)) => elements.iter().any(|one| self.equal(element, of_json(one))),
            Known::Json(Value::Object(members)) => match element {
                Known::Text(key) => std::str::from_utf8(key).is_ok_and(|key| members.contains_key(key)),
                _ => false,
            },
            Known::Headers => match element {
                Known::Text(key) => self.record.headers().any(|header| header.key == key),
                _ => false,
            },
            _ => return Err(Fault),
        })
    }
}

fn constant(literal: &Literal) -> Known<'_> {
    match literal {
        Literal::Null => Known::Null,
        Literal::Bool(truth) => Known::Bool(*truth),
        Literal::Int(number) => Known::Int(*number),
        Literal::Double(number) => Known::Double(*number),
        Literal::Text(text) => Known::Text(text),
        Literal::Time(ms) => Known::Time(*ms),
    }
}

fn of_json(value: &Value) -> Known<'_> {
    match value {
        Value::Null => Known::Null,
        Value::Bool(truth) => Known::Bool(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Known::Int(number),
            None => Known::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Known::Text(text.as_bytes()),
        value => Known::Json(value),
    }
}

/// Orders two values of one kind; numbers whether whole or not.
fn order(left: Known<'_>, right: Known<'_>) -> Option<Ordering> {
    match (left, right) {
        (Known::Int(left), Known::Int(right)) | (Known::Time(left), Known::Time(right)) => Some(left.cmp(&right)),
        (Known::Int(left), Known::Double(right)) => (left as f64).partial_cmp(&right),
        (Known::Double(left), Known::Int(right)) => left.partial_cmp(&(right as f64)),
        (Known::Double(left), Known::Double(right)) => left.partial_cmp(&right),
        (Known::Text(left), Known::Text(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn test_text(test: Test, text: &[u8], part: &[u8]) -> bool {
    match test {
        Test::Contains => memchr::memmem::find(text, part).is_some(),
        Test::StartsWith => text.starts_with(part),
        Test::EndsWith => text.ends_with(part),
    }
}
