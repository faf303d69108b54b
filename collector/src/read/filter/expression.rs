//! A filter as a tree, checked: what stands where makes sense.
//!
//! Pure.

use regex::bytes::Regex;

/// Is a part of a filter.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Literal(Literal),
    Variable(Variable),
    /// A header, or a member of a JSON object.
    Member(Box<Self>, String),
    /// An element of a JSON array, or a member by what another part says.
    Element(Box<Self>, Box<Self>),
    /// Whether a member is there.
    Has(Box<Self>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    /// Whether a list has an element, or a map a key.
    In(Box<Self>, Box<Self>),
    List(Vec<Self>),
    Test(Test, Box<Self>, Box<Self>),
    Matches(Box<Self>, Box<Regex>),
    Size(Box<Self>),
}

/// Is a constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Vec<u8>),
    /// Milliseconds since 1970.
    Time(i64),
}

/// Is what a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
    Json,
}

impl Variable {
    /// Finds a variable by its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "topic" => Self::Topic,
            "partition" => Self::Partition,
            "offset" => Self::Offset,
            "timestamp" => Self::Timestamp,
            "key" => Self::Key,
            "value" => Self::Value,
            "headers" => Self::Headers,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

/// Compares two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Looks for one text in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Contains,
    StartsWith,
    EndsWith,
}

/// Is what is known of a value before any record is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Number,
    Text,
    Time,
    Null,
    List,
    Map,
    /// Only the record says.
    Any,
}

impl Kind {
    /// Tells whether a value of this kind may be one of that kind.
    pub(super) fn may_be(self, that: Self) -> bool {
        self == that || self == Self::Any || that == Self::Any
    }

    /// Names it to who wrote the filter.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Time => "a time",
            Self::Null => "null",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Any => "anything",
        }
    }
}

impl Expression {
    /// Says what kind of value it gives.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Literal(literal) => match literal {
                Literal::Null => Kind::Null,
                Literal::Bool(_) => Kind::Bool,
                Literal::Int(_) | Literal::Double(_) => Kind::Number,
                Literal::Text(_) => Kind::Text,
                Literal::Time(_) => Kind::Time,
            },
            Self::Variable(variable) => match variable {
                Variable::Topic => Kind::Text,
                Variable::Partition | Variable::Offset => Kind::Number,
                Variable::Timestamp => Kind::Time,
                Variable::Headers => Kind::Map,
                // Either may be null.
                Variable::Key | Variable::Value | Variable::Json => Kind::Any,
            },
            Self::Member(of, _) if of.is_headers() => Kind::Text,
            Self::Member(..) | Self::Element(..) => Kind::Any,
            Self::List(_) => Kind::List,
            Self::Size(_) => Kind::Number,
            _ => Kind::Bool,
        }
    }

    /// Tells whether it is all headers.
    pub(super) fn is_headers(&self) -> bool {
        matches!(self, Self::Variable(Variable::Headers))
    }

    /// Tells whether its text stands in a stored record as it is.
    pub(super) fn is_stored(&self) -> bool {
        match self {
            Self::Variable(variable) => matches!(variable, Variable::Key | Variable::Value),
            Self::Member(of, _) => of.is_headers(),
            _ => false,
        }
    }

    /// Tells whether its text stands in a stored record as JSON writes it.
    pub(super) fn is_in_json(&self) -> bool {
        match self {
            Self::Variable(variable) => *variable == Variable::Json,
            Self::Member(of, _) | Self::Element(of, _) => of.is_in_json(),
            _ => false,
        }
    }
}
