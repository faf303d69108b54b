//! From a filter's text to its tree: the grammar of CEL, as far as filters need it, by recursive descent.
//!
//! ```text
//! or      = and { "||" and }                     and = not-or-compared { "&&" not-or-compared }
//! compared = member [ ( == | != | < | <= | > | >= | in ) member ]
//! member  = primary { "." name | "." function "(" … ")" | "[" or "]" }
//! primary = literal | variable | "(" or ")" | "[" or, … "]" | "!" primary | "-" number | has(…) | size(…) | timestamp("…")
//! ```
//!
//! Pure. Depth and number of parts are bounded, so that no text exhausts the stack.

use jiff::Timestamp;
use regex::bytes::{Regex, RegexBuilder};

use crate::read::filter::expression::{Comparison, Expression, Kind, Literal, Test, Variable};
use crate::read::filter::lexer::{Lexeme, Placed, lex};
use crate::read::filter::{DEPTH_MAX, FilterError, PARTS_MAX, REGEX_BYTES_MAX, REGEXES_MAX};

/// Reads a filter.
pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    let mut parser = Parser { lexemes: lex(text)?, next: 0, end: text.len(), depth: 0, parts: 0, regexes: 0 };
    let expression = parser.or()?;
    if let Some((at, lexeme)) = parser.lexemes.get(parser.next) {
        return Err(FilterError::new(*at, format!("{} is unexpected here", shown(lexeme))));
    }
    let kind = expression.kind();
    match kind.may_be(Kind::Bool) {
        true => Ok(expression),
        false => Err(FilterError::new(0, format!("a filter is true or false, and this is {}", kind.name()))),
    }
}

struct Parser {
    lexemes: Vec<Placed>,
    next: usize,
    end: usize,
    depth: usize,
    parts: usize,
    regexes: usize,
}

type Parsed = Result<Expression, FilterError>;

impl Parser {
    fn or(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(FilterError::new(self.at(), format!("a filter nests at most {DEPTH_MAX} deep")));
        }
        let mut left = self.and()?;
        while self.takes("||") {
            let right = self.and()?;
            left = self.logical(Expression::Or, left, right)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.compared()?;
        while self.takes("&&") {
            let right = self.compared()?;
            left = self.logical(Expression::And, left, right)?;
        }
        Ok(left)
    }

    fn logical(
        &mut self,
        join: impl FnOnce(Box<Expression>, Box<Expression>) -> Expression,
        left: Expression,
        right: Expression,
    ) -> Parsed {
        self.must_be(&left, Kind::Bool)?;
        self.must_be(&right, Kind::Bool)?;
        self.part(join(Box::new(left), Box::new(right)))
    }

    fn compared(&mut self) -> Parsed {
        let left = self.member()?;
        let at = self.at();
        if self.takes_name("in") {
            let right = self.member()?;
            if !right.kind().may_be(Kind::List) && !right.kind().may_be(Kind::Map) {
                return Err(FilterError::new(at, format!("`in` needs a list or a map, not {}", right.kind().name())));
            }
            return self.part(Expression::In(Box::new(left), Box::new(right)));
        }
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((_, comparison)) = signs.into_iter().find(|(sign, _)| self.takes(sign)) else { return Ok(left) };
        let right = self.member()?;
        let (one, other) = (left.kind(), right.kind());
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if !one.may_be(other) && !(is_equality && (one == Kind::Null || other == Kind::Null)) {
            return Err(FilterError::new(at, format!("{} is never compared with {}", one.name(), other.name())));
        }
        self.part(Expression::Compare(comparison, Box::new(left), Box::new(right)))
    }

    fn member(&mut self) -> Parsed {
        let mut of = self.primary()?;
        loop {
            let at = self.at();
            if self.takes(".") {
                let name = self.name()?;
                of = if self.takes("(") { self.call(&name, of, at)? } else { self.member_of(of, name, at)? };
            } else if self.takes("[") {
                let index = self.or()?;
                self.must_take("]")?;
                of = match index {
                    Expression::Literal(Literal::Text(name)) => {
                        self.member_of(of, String::from_utf8_lossy(&name).into_owned(), at)?
                    }
                    index => self.element(of, index, at)?,
                };
            } else {
                return Ok(of);
            }
        }
    }

    fn member_of(&mut self, of: Expression, name: String, at: usize) -> Parsed {
        match of.is_headers() || of.is_in_json() {
            true => self.part(Expression::Member(Box::new(of), name)),
            false => Err(FilterError::new(at, format!("only headers and json have members such as {name}"))),
        }
    }

    fn element(&mut self, of: Expression, index: Expression, at: usize) -> Parsed {
        match of.is_in_json() && index.kind().may_be(Kind::Number) {
            true => self.part(Expression::Element(Box::new(of), Box::new(index))),
            false => Err(FilterError::new(at, "only arrays of json have numbered elements")),
        }
    }

    /// Reads a call of something's function, its bracket being open.
    fn call(&mut self, name: &str, of: Expression, at: usize) -> Parsed {
        if name == "size" {
            self.must_take(")")?;
            return self.size(of);
        }
        let argument_at = self.at();
        let argument = self.or()?;
        self.must_take(")")?;
        let test = match name {
            "contains" => Test::Contains,
            "startsWith" => Test::StartsWith,
            "endsWith" => Test::EndsWith,
            "matches" => {
                self.must_be(&of, Kind::Text)?;
                let regex = self.regex(argument, argument_at)?;
                return self.part(Expression::Matches(Box::new(of), Box::new(regex)));
            }
            _ => {
                let known = "contains, startsWith, endsWith, matches and size";
                return Err(FilterError::new(at, format!("there is no function {name}; text has {known}")));
            }
        };
        self.must_be(&of, Kind::Text)?;
        self.must_be(&argument, Kind::Text)?;
        self.part(Expression::Test(test, Box::new(of), Box::new(argument)))
    }

    fn regex(&mut self, argument: Expression, at: usize) -> Result<Regex, FilterError> {
        let Expression::Literal(Literal::Text(pattern)) = argument else {
            return Err(FilterError::new(at, "matches takes a regular expression in quotes"));
        };
        self.regexes += 1;
        if self.regexes > REGEXES_MAX {
            return Err(FilterError::new(at, format!("a filter has at most {REGEXES_MAX} regular expressions")));
        }
        let wrong = |reason: String| FilterError::new(at, format!("the regular expression is wrong: {reason}"));
        let pattern = std::str::from_utf8(&pattern).map_err(|error| wrong(error.to_string()))?;
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
        builder.build().map_err(|error| wrong(error.to_string()))
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let Some((_, lexeme)) = self.lexemes.get(self.next).cloned() else {
            return Err(FilterError::new(at, "something is missing at the end"));
        };
        self.next += 1;
        match lexeme {
            Lexeme::Text(text) => self.part(Expression::Literal(Literal::Text(text))),
            Lexeme::Int(number) => self.part(Expression::Literal(Literal::Int(number))),
            Lexeme::Double(number) => self.part(Expression::Literal(Literal::Double(number))),
            Lexeme::Name(name) => self.named(&name, at),
            Lexeme::Sign("(") => {
                let inner = self.or()?;
                self.must_take(")")?;
                Ok(inner)
            }
            Lexeme::Sign("[") => self.list(),
            Lexeme::Sign("!") => self.not(),
            Lexeme::Sign("-") => self.negative(at),
            Lexeme::Sign(sign) => Err(FilterError::new(at, format!("{sign} is unexpected here"))),
        }
    }

    fn not(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(FilterError::new(self.at(), format!("a filter nests at most {DEPTH_MAX} deep")));
        }
        let inner = self.member()?;
        self.depth -= 1;
        self.must_be(&inner, Kind::Bool)?;
        self.part(Expression::Not(Box::new(inner)))
    }

    fn negative(&mut self, at: usize) -> Parsed {
        let number = self.lexemes.get(self.next).map(|(_, lexeme)| lexeme.clone());
        self.next += 1;
        match number {
            Some(Lexeme::Int(number)) => self.part(Expression::Literal(Literal::Int(-number))),
            Some(Lexeme::Double(number)) => self.part(Expression::Literal(Literal::Double(-number))),
            _ => Err(FilterError::new(at, "- stands before numbers only")),
        }
    }

    fn list(&mut self) -> Parsed {
        let mut elements = Vec::new();
        while !self.takes("]") {
            if !elements.is_empty() {
                self.must_take(",")?;
            }
            elements.push(self.or()?);
        }
        self.part(Expression::List(elements))
    }

    fn named(&mut self, name: &str, at: usize) -> Parsed {
        match name {
            "true" => return self.part(Expression::Literal(Literal::Bool(true))),
            "false" => return self.part(Expression::Literal(Literal::Bool(false))),
            "null" => return self.part(Expression::Literal(Literal::Null)),
            _ => {}
        }
        if self.takes("(") {
            let argument = self.or()?;
            self.must_take(")")?;
            return self.global(name, argument, at);
        }
        match Variable::named(name) {
            Some(variable) => self.part(Expression::Variable(variable)),
            None => {
                let known = "topic, partition, offset, timestamp, key, value, headers and json";
                Err(FilterError::new(at, format!("there is no {name}; a record has {known}")))
            }
        }
    }

    fn global(&mut self, name: &str, argument: Expression, at: usize) -> Parsed {
        match (name, argument) {
            ("size", of) => self.size(of),
            ("has", member @ Expression::Member(..)) => self.part(Expression::Has(Box::new(member))),
            ("has", _) => Err(FilterError::new(at, "has takes a member, such as has(json.level)")),
            ("timestamp", Expression::Literal(Literal::Text(text))) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let time: Timestamp = text
                    .parse()
                    .map_err(|error| FilterError::new(at, format!("{text:?} is not an RFC 3339 time: {error}")))?;
                self.part(Expression::Literal(Literal::Time(time.as_millisecond())))
            }
            ("timestamp", _) => Err(FilterError::new(at, "timestamp takes an RFC 3339 time in quotes")),
            _ => Err(FilterError::new(at, format!("there is no function {name}; there are has, size and timestamp"))),
        }
    }

    fn size(&mut self, of: Expression) -> Parsed {
        match of.kind() {
            Kind::Text | Kind::Any | Kind::Map | Kind::List => self.part(Expression::Size(Box::new(of))),
            kind => Err(FilterError::new(self.at(), format!("{} has no size", kind.name()))),
        }
    }

    /// Counts a part.
    fn part(&mut self, expression: Expression) -> Parsed {
        self.parts += 1;
        match self.parts > PARTS_MAX {
            true => Err(FilterError::new(self.at(), format!("a filter has at most {PARTS_MAX} parts"))),
            false => Ok(expression),
        }
    }

    fn must_be(&self, expression: &Expression, kind: Kind) -> Result<(), FilterError> {
        match expression.kind() {
            actual if actual.may_be(kind) => Ok(()),
            actual => {
                let at = self.lexemes.get(self.next.saturating_sub(1)).map_or(self.end, |(at, _)| *at);
                Err(FilterError::new(at, format!("{} is needed before this, not {}", kind.name(), actual.name())))
            }
        }
    }

    fn at(&self) -> usize {
        self.lexemes.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.lexemes.get(self.next), Some((_, Lexeme::Sign(next))) if *next == sign);
        self.next += usize::from(is_next);
        is_next
    }

    fn takes_name(&mut self, name: &str) -> bool {
        let is_next = matches!(self.lexemes.get(self.next), Some((_, Lexeme::Name(next))) if next == name);
        self.next += usize::from(is_next);
        is_next
    }

    fn must_take(&mut self, sign: &str) -> Result<(), FilterError> {
        let at = self.at();
        if self.takes(sign) { Ok(()) } else { Err(FilterError::new(at, format!("{sign} is missing here"))) }
    }

    fn name(&mut self) -> Result<String, FilterError> {
        let at = self.at();
        let Some((_, Lexeme::Name(name))) = self.lexemes.get(self.next) else {
            return Err(FilterError::new(at, "a name is missing here"));
        };
        self.next += 1;
        Ok(name.clone())
    }
}

fn shown(lexeme: &Lexeme) -> String {
    match lexeme {
        Lexeme::Name(name) => name.clone(),
        Lexeme::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        Lexeme::Int(number) => number.to_string(),
        Lexeme::Double(number) => number.to_string(),
        Lexeme::Sign(sign) => (*sign).to_owned(),
    }
}
