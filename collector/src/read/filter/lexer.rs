//! The text of a filter as tokens: CEL's own, as far as filters need them.
//!
//! Pure.

use crate::read::filter::{FilterError, LENGTH_MAX};

/// Is a token and the byte it begins at.
pub(super) type Placed = (usize, Lexeme);

/// Is one token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lexeme {
    Name(String),
    Text(Vec<u8>),
    Int(i64),
    Double(f64),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// The signs, longer ones before those they begin with.
const SIGNS: [&str; 20] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "-", "?", ":", "+", "*"];

/// Cuts a filter into tokens.
pub(super) fn lex(text: &str) -> Result<Vec<Placed>, FilterError> {
    if text.len() > LENGTH_MAX {
        return Err(FilterError::new(
            0,
            format!("a filter has at most {LENGTH_MAX} bytes, and this has {}", text.len()),
        ));
    }
    let (mut lexemes, mut at) = (Vec::new(), 0);
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (lexeme, len) = one(text, at)?;
        lexemes.push((at, lexeme));
        at += len;
    }
    Ok(lexemes)
}

fn one(text: &str, at: usize) -> Result<(Lexeme, usize), FilterError> {
    let rest = &text[at..];
    let first = rest.as_bytes()[0];
    if first == b'r' && matches!(rest.as_bytes().get(1), Some(b'"' | b'\'')) {
        return raw_text(rest, at);
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let len = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        return Ok((Lexeme::Name(rest[..len].to_owned()), len));
    }
    if first.is_ascii_digit() {
        return number(rest, at);
    }
    if first == b'"' || first == b'\'' {
        return quoted(rest, at);
    }
    match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        Some(sign) => Ok((Lexeme::Sign(sign), sign.len())),
        None => Err(FilterError::new(at, format!("{:?} means nothing here", rest.chars().next().unwrap_or_default()))),
    }
}

fn number(rest: &str, at: usize) -> Result<(Lexeme, usize), FilterError> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
    let len = rest.bytes().take_while(plain).count();
    let digits = &rest[..len];
    let wrong = || FilterError::new(at, format!("{digits:?} is not a number"));
    let lexeme = match digits.contains(['.', 'e', 'E']) {
        true => Lexeme::Double(digits.parse().map_err(|_| wrong())?),
        false => Lexeme::Int(digits.parse().map_err(|_| wrong())?),
    };
    Ok((lexeme, len))
}

/// Reads `r"…"`: every byte stands for itself.
fn raw_text(rest: &str, at: usize) -> Result<(Lexeme, usize), FilterError> {
    let quote = &rest[1..2];
    let end = rest[2..].find(quote).ok_or_else(|| FilterError::new(at, "the text does not end"))?;
    Ok((Lexeme::Text(rest.as_bytes()[2..2 + end].to_vec()), end + 3))
}

fn quoted(rest: &str, at: usize) -> Result<(Lexeme, usize), FilterError> {
    let bytes = rest.as_bytes();
    let (quote, mut text, mut index) = (bytes[0], Vec::new(), 1);
    loop {
        match bytes.get(index) {
            None => return Err(FilterError::new(at, "the text does not end")),
            Some(byte) if *byte == quote => return Ok((Lexeme::Text(text), index + 1)),
            Some(b'\\') => index += escape(&rest[index..], at + index, &mut text)?,
            Some(byte) => {
                text.push(*byte);
                index += 1;
            }
        }
    }
}

/// Reads one escape; gives its length.
fn escape(rest: &str, at: usize, text: &mut Vec<u8>) -> Result<usize, FilterError> {
    let wrong = || FilterError::new(at, "no such escape; there are \\\\ \\\" \\' \\n \\r \\t \\xHH and \\uHHHH");
    let byte = match rest.as_bytes().get(1).ok_or_else(wrong)? {
        byte @ (b'\\' | b'"' | b'\'' | b'`' | b'?') => *byte,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'x' => {
            let hex = rest.get(2..4).ok_or_else(wrong)?;
            text.push(u8::from_str_radix(hex, 16).map_err(|_| wrong())?);
            return Ok(4);
        }
        b'u' => {
            let code = rest.get(2..6).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let character = code.and_then(char::from_u32).ok_or_else(wrong)?;
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(6);
        }
        _ => return Err(wrong()),
    };
    text.push(byte);
    Ok(2)
}
