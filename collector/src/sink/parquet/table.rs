//! Which columns a file has, as Parquet's schema and as records fill them.

use std::collections::HashMap;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::Result;
use parquet::schema::types::{Type, TypePtr};

use super::fields::{Field, Kind, REST};
use crate::json::Column;

/// Says what a file's columns are. Places are those of leaves, in the schema's order.
pub(in crate::sink) struct Table {
    pub(super) schema: TypePtr,
    /// Columns of the record itself, each with its first place.
    pub(super) columns: Vec<(Column, usize)>,
    /// If values that are JSON objects are taken apart.
    pub(super) object: Option<Object>,
}

/// Says where JSON objects go.
pub(super) struct Object {
    /// Where values that are no objects go; `None` if all values are in a column already.
    pub(super) others: Option<usize>,
    /// Where fields go.
    pub(super) fields: Vec<Target>,
    /// Which of them take from a top-level member.
    pub(super) by_member: HashMap<String, Vec<usize>>,
    /// Where the rest goes.
    pub(super) rest: usize,
}

/// Is where a field goes.
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) place: usize,
    /// What is left of the pointer below the member.
    pub(super) below: Vec<String>,
}

impl Table {
    /// Makes the table of these columns; with fields if values that are JSON objects are taken apart.
    ///
    /// # Errors
    /// Parquet takes no such schema.
    pub(in crate::sink) fn new(columns: &[Column], fields: Option<&[Field]>) -> Result<Self> {
        let (mut types, mut place) = (Vec::new(), 0);
        let mut add = |added: Vec<Type>, leaves: usize| {
            types.extend(added.into_iter().map(Arc::new));
            place += leaves;
            place - leaves
        };
        let mut placed = Vec::new();
        for column in columns {
            let (added, leaves) = of_column(*column)?;
            placed.push((*column, add(added, leaves)));
        }
        let object = match fields {
            None => None,
            Some(fields) => {
                let others =
                    if columns.contains(&Column::Value) { None } else { Some(add(text_or_bytes("value")?, 2)) };
                let mut object = Object { others, fields: Vec::new(), by_member: HashMap::new(), rest: 0 };
                for field in fields {
                    let place = add(vec![of_field(field)?], 1);
                    let mut below = parts(&field.from);
                    let member = if below.is_empty() { String::new() } else { below.remove(0) };
                    object.by_member.entry(member).or_default().push(object.fields.len());
                    object.fields.push(Target { kind: field.kind, place, below });
                }
                object.rest = add(vec![text(REST, Repetition::OPTIONAL)?], 1);
                Some(object)
            }
        };
        let schema = Type::group_type_builder("record").with_fields(types).build()?;
        Ok(Self { schema: Arc::new(schema), columns: placed, object })
    }
}

/// Splits a JSON pointer.
fn parts(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

/// Gives a column's types, and how many leaves they have.
fn of_column(column: Column) -> Result<(Vec<Type>, usize)> {
    let required = Repetition::REQUIRED;
    let number = |physical| Type::primitive_type_builder(column.name(), physical).with_repetition(required);
    Ok(match column {
        Column::Topic => (vec![text(column.name(), required)?], 1),
        Column::Partition => (vec![number(Physical::INT32).build()?], 1),
        Column::Offset => (vec![number(Physical::INT64).build()?], 1),
        Column::Timestamp => {
            let time = Some(LogicalType::timestamp(true, TimeUnit::MILLIS));
            (vec![number(Physical::INT64).with_logical_type(time).build()?], 1)
        }
        Column::Headers => (vec![headers()?, text("headers_json", Repetition::OPTIONAL)?], 3),
        Column::Key | Column::Host | Column::Path | Column::Value => (text_or_bytes(column.name())?, 2),
    })
}

/// Gives the columns of something that is text, as a rule.
fn text_or_bytes(name: &str) -> Result<Vec<Type>> {
    let optional = Repetition::OPTIONAL;
    let binary = format!("{name}_binary");
    let binary = Type::primitive_type_builder(&binary, Physical::BYTE_ARRAY).with_repetition(optional).build()?;
    Ok(vec![text(name, optional)?, binary])
}

fn text(name: &str, repetition: Repetition) -> Result<Type> {
    let text = Type::primitive_type_builder(name, Physical::BYTE_ARRAY).with_repetition(repetition);
    text.with_logical_type(Some(LogicalType::String)).build()
}

/// Gives the map of headers.
fn headers() -> Result<Type> {
    let entry = vec![Arc::new(text("key", Repetition::REQUIRED)?), Arc::new(text("value", Repetition::OPTIONAL)?)];
    let entries =
        Type::group_type_builder("key_value").with_repetition(Repetition::REPEATED).with_fields(entry).build()?;
    let map = Type::group_type_builder("headers").with_repetition(Repetition::REQUIRED);
    map.with_logical_type(Some(LogicalType::Map)).with_fields(vec![Arc::new(entries)]).build()
}

fn of_field(field: &Field) -> Result<Type> {
    let (physical, logical) = match field.kind {
        // Not as Parquet's JSON, which some readers take for bytes.
        Kind::String | Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Long => (Physical::INT64, None),
        Kind::Double => (Physical::DOUBLE, None),
        Kind::Boolean => (Physical::BOOLEAN, None),
        Kind::Timestamp => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    let column = Type::primitive_type_builder(&field.name, physical).with_repetition(Repetition::OPTIONAL);
    column.with_logical_type(logical).build()
}
