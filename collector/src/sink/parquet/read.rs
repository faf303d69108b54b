//! Reading a file back, column by column, for its digest.

use std::fs::File;
use std::io;

use parquet::column::reader::ColumnReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use skidway_daemon::shutdown::contained;

use super::leaf::{Leaf, Values};
use super::write::{combined, io_error};

/// Records read at a time.
const BATCH: usize = 1024;

/// Gives the digest of a whole file's rows.
///
/// # Errors
/// It cannot be read, or is no file of ours. The crate's reader panics at some bytes; that is no more than another file.
pub(in crate::sink) fn digest(file: File) -> io::Result<String> {
    let digest = contained(|| leaves(file).map(|leaves| combined(&leaves)).map_err(io_error));
    digest.map_err(io::Error::other)?
}

fn leaves(file: File) -> Result<Vec<Leaf>> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let mut leaves: Vec<Leaf> = schema.columns().iter().map(|column| Leaf::new(column)).collect::<Result<_>>()?;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        for (at, leaf) in leaves.iter_mut().enumerate() {
            let mut column = group.get_column_reader(at)?;
            while read(&mut column, leaf)? > 0 {
                leaf.pass();
            }
        }
    }
    Ok(leaves)
}

/// Reads some records of a column; gives how many.
fn read(column: &mut ColumnReader, leaf: &mut Leaf) -> Result<usize> {
    let (definitions, repetitions, values) = leaf.parts();
    let (definitions, repetitions) = (Some(definitions), Some(repetitions));
    let (records, _, _) = match (column, values) {
        (ColumnReader::BoolColumnReader(column), Values::Bool(values)) => {
            column.read_records(BATCH, definitions, repetitions, values)?
        }
        (ColumnReader::Int32ColumnReader(column), Values::Int(values)) => {
            column.read_records(BATCH, definitions, repetitions, values)?
        }
        (ColumnReader::Int64ColumnReader(column), Values::Long(values)) => {
            column.read_records(BATCH, definitions, repetitions, values)?
        }
        (ColumnReader::DoubleColumnReader(column), Values::Double(values)) => {
            column.read_records(BATCH, definitions, repetitions, values)?
        }
        (ColumnReader::ByteArrayColumnReader(column), values) => {
            let mut read = Vec::with_capacity(BATCH);
            let told = column.read_records(BATCH, definitions, repetitions, &mut read)?;
            values.extend(&read);
            told
        }
        _ => return Err(ParquetError::General("it is of a type that our files do not have".to_owned())),
    };
    Ok(records)
}
