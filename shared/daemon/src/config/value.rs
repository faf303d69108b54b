//! What a written value may mean: the types a key can have, each with the words for what it expects.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::mistake::Origin;
use super::tree::{Value, parse_value};

/// Is a type that a key can have.
pub trait Setting: Sized {
    /// Says in words what may be written, for "expected …".
    fn expected() -> String;

    /// Reads a value; `None` if it is not what [`Setting::expected`] says.
    fn read(written: Written<'_>) -> Option<Self>;
}

/// Lends a written value to a [`Setting`].
#[derive(Debug, Clone, Copy)]
pub struct Written<'a>(pub(super) &'a Value);

impl<'a> Written<'a> {
    /// Gives the value as text, if it is text.
    pub fn text(self) -> Option<&'a str> {
        match self.0 {
            Value::Text(text) | Value::Untyped(text) => Some(text),
            _ => None,
        }
    }

    /// Gives the value as a whole number, if it is one.
    pub fn integer(self) -> Option<i128> {
        match self.0 {
            Value::Integer(integer) => Some(*integer),
            Value::Untyped(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl Setting for String {
    fn expected() -> String {
        "a string".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        written.text().map(str::to_owned)
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        written.text().filter(|text| !text.is_empty()).map(Self::from)
    }
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        match written.0 {
            Value::Boolean(boolean) => Some(*boolean),
            Value::Untyped(text) => text.parse().ok(),
            _ => None,
        }
    }
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            fn expected() -> String {
                format!("a whole number from {} to {}", <$number>::MIN, <$number>::MAX)
            }

            fn read(written: Written<'_>) -> Option<Self> {
                written.integer()?.try_into().ok()
            }
        }
    )*};
}

whole_number!(u16, u32, u64, usize, i32, i64);

impl Setting for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        let number = match written.0 {
            Value::Float(float) => *float,
            Value::Integer(integer) => *integer as Self,
            Value::Untyped(text) => text.parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl Setting for SocketAddr {
    fn expected() -> String {
        "an address such as \"127.0.0.1:7070\"".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        written.text()?.parse().ok()
    }
}

/// An address that can be switched off: `""` is none.
impl Setting for Option<SocketAddr> {
    fn expected() -> String {
        format!("{}, or \"\" for none", SocketAddr::expected())
    }

    fn read(written: Written<'_>) -> Option<Self> {
        if written.text() == Some("") { Some(None) } else { SocketAddr::read(written).map(Some) }
    }
}

/// A list of strings. An environment variable writes it as TOML (`["a", "b"]`) or as one string alone.
impl Setting for Vec<String> {
    fn expected() -> String {
        "a list of strings".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        match written.0 {
            Value::List(nodes) => nodes.iter().map(|node| String::read(Written(&node.value))).collect(),
            Value::Untyped(text) if text.starts_with('[') => Self::read(Written(&parse_value(text, &Origin::Nowhere)?)),
            Value::Untyped(text) => Some(vec![text.clone()]),
            _ => None,
        }
    }
}

impl Setting for BTreeMap<String, String> {
    fn expected() -> String {
        "a table of strings".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        let Value::Table(table) = written.0 else { return None };
        table.iter().map(|(key, node)| Some((key.clone(), String::read(Written(&node.value))?))).collect()
    }
}

/// Counts bytes, written `"64KiB"`, `"10GB"` or as a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Counts in KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// Counts in MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// Counts in GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// Reads `64KiB`, `10 GB` or `65536`; `None` if it is not a size or does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = split_unit(text)?;
        let bytes = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return None,
        };
        count.checked_mul(bytes).map(Self)
    }
}

/// Shows the largest binary unit that loses nothing.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units.iter().find(|(shift, _)| self.0 >> shift > 0 && self.0 & ((1 << shift) - 1) == 0);
        match whole {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Setting for ByteSize {
    fn expected() -> String {
        "a size such as \"64KiB\"".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        match written.0 {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Self),
            _ => Self::parse(written.text()?),
        }
    }
}

impl Setting for Duration {
    fn expected() -> String {
        "a duration such as \"5s\" (ms, s, m, h, d)".to_owned()
    }

    fn read(written: Written<'_>) -> Option<Self> {
        parse_duration(written.text()?)
    }
}

/// Reads `10ms`, `5s`, `2m`, `1h` or `7d`; `None` if it is not a duration or does not fit 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

/// Splits `64KiB` or `64 KiB` into number and unit.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    Some((count.parse().ok()?, unit.trim_start()))
}

/// Is a setting with an order, so that a range can be asked of it.
pub trait Bounded: Setting + PartialOrd {
    /// Shows the value as it would be written.
    fn show(&self) -> String;
}

macro_rules! bounded_by_display {
    ($($number:ty),*) => {$(
        impl Bounded for $number {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

bounded_by_display!(u16, u32, u64, usize, i32, i64, f64, ByteSize);

impl Bounded for Duration {
    fn show(&self) -> String {
        let millis = self.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let whole = units.iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
        whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
    }
}
