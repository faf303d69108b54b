//! One column of a file: values that wait for their row group, and a digest of all that it ever had.
//!
//! The digest is of levels, lengths and values in their order, so neither pages nor row groups nor encodings change it.

use bytes::{Bytes, BytesMut};
use parquet::basic::Type as Physical;
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::ColumnDescriptor;
use twox_hash::XxHash3_128;

/// Values handed to the writer at a time.
const BATCH: usize = 4096;

/// Values hashed at a time.
const PIECE_VALUES: usize = 2048;

/// Is a column being written, or read back.
pub(super) struct Leaf {
    /// What it is: part of the digest.
    what: String,
    levels_max: (i16, i16),
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    values: Values,
    /// Digests of repetition levels, definition levels, lengths, values.
    digests: [XxHash3_128; 4],
}

/// Holds values one after the other.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Double(Vec<f64>),
    Bytes { bytes: BytesMut, ends: Vec<u32> },
}

impl Leaf {
    /// Makes the column that a schema describes.
    ///
    /// # Errors
    /// It is of a type that our files do not have.
    pub(super) fn new(column: &ColumnDescriptor) -> Result<Self> {
        let values = match column.physical_type() {
            Physical::BOOLEAN => Values::Bool(Vec::new()),
            Physical::INT32 => Values::Int(Vec::new()),
            Physical::INT64 => Values::Long(Vec::new()),
            Physical::DOUBLE => Values::Double(Vec::new()),
            Physical::BYTE_ARRAY => Values::Bytes { bytes: BytesMut::new(), ends: Vec::new() },
            other => return Err(ParquetError::General(format!("{} is of type {other}", column.path()))),
        };
        let (definition, repetition) = (column.max_def_level(), column.max_rep_level());
        let (physical, logical) = (column.physical_type(), column.converted_type());
        Ok(Self {
            what: format!("{} {physical} {logical} {definition} {repetition}", column.path()),
            levels_max: (definition, repetition),
            definitions: Vec::new(),
            repetitions: Vec::new(),
            values,
            digests: [(); 4].map(|()| XxHash3_128::new()),
        })
    }

    pub(super) fn push_null(&mut self) {
        self.definitions.push(0);
    }

    pub(super) fn push_bool(&mut self, value: bool) {
        self.define();
        if let Values::Bool(values) = &mut self.values {
            values.push(value);
        }
    }

    pub(super) fn push_int(&mut self, value: i32) {
        self.define();
        if let Values::Int(values) = &mut self.values {
            values.push(value);
        }
    }

    pub(super) fn push_long(&mut self, value: i64) {
        self.define();
        if let Values::Long(values) = &mut self.values {
            values.push(value);
        }
    }

    pub(super) fn push_double(&mut self, value: f64) {
        self.define();
        if let Values::Double(values) = &mut self.values {
            values.push(value);
        }
    }

    pub(super) fn push_bytes(&mut self, value: &[u8]) {
        self.define();
        self.values.push_bytes(value);
    }

    /// Appends an entry of a list: `definition` says how much of it there is, `is_first` that it begins a row.
    pub(super) fn push_entry(&mut self, value: Option<&[u8]>, definition: i16, is_first: bool) {
        self.definitions.push(definition);
        self.repetitions.push(i16::from(!is_first));
        value.into_iter().for_each(|value| self.values.push_bytes(value));
    }

    fn define(&mut self) {
        if self.levels_max.0 > 0 {
            self.definitions.push(self.levels_max.0);
        }
    }

    /// Tells how many rows wait, of a column that is no list.
    pub(super) fn rows(&self) -> usize {
        if self.levels_max.0 > 0 { self.definitions.len() } else { self.values.count() }
    }

    /// Tells how much memory what waits takes.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Bool(values) => values.len(),
            Values::Int(values) => values.len() * 4,
            Values::Long(values) => values.len() * 8,
            Values::Double(values) => values.len() * 8,
            Values::Bytes { bytes, ends } => bytes.len() + ends.len() * 4,
        };
        values + (self.definitions.len() + self.repetitions.len()) * 2
    }

    /// Writes what waits as this column of a row group, and forgets it.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        self.hash();
        let definitions = (self.levels_max.0 > 0).then_some(&self.definitions[..]);
        match (column.untyped(), &mut self.values) {
            (ColumnWriter::BoolColumnWriter(out), Values::Bool(values)) => {
                out.write_batch(values, definitions, None)?
            }
            (ColumnWriter::Int32ColumnWriter(out), Values::Int(values)) => {
                out.write_batch(values, definitions, None)?
            }
            (ColumnWriter::Int64ColumnWriter(out), Values::Long(values)) => {
                out.write_batch(values, definitions, None)?
            }
            (ColumnWriter::DoubleColumnWriter(out), Values::Double(values)) => {
                out.write_batch(values, definitions, None)?
            }
            (ColumnWriter::ByteArrayColumnWriter(out), Values::Bytes { bytes, ends }) => {
                let whole = std::mem::take(bytes).freeze();
                let levels = (self.levels_max, &self.definitions[..], &self.repetitions[..]);
                write_bytes(out, (&whole, ends), levels)?;
                column.close()?;
                // The writer had a share of it until now.
                *bytes = whole.try_into_mut().unwrap_or_default();
                self.forget();
                return Ok(());
            }
            _ => return Err(ParquetError::General(format!("{} is another column", self.what))),
        };
        column.close()?;
        self.forget();
        Ok(())
    }

    /// Takes what waits into the digest, and forgets it.
    pub(super) fn pass(&mut self) {
        self.hash();
        self.forget();
    }

    /// Gives the place that takes levels and values read back.
    pub(super) fn parts(&mut self) -> (&mut Vec<i16>, &mut Vec<i16>, &mut Values) {
        (&mut self.definitions, &mut self.repetitions, &mut self.values)
    }

    fn forget(&mut self) {
        self.definitions.clear();
        self.repetitions.clear();
        match &mut self.values {
            Values::Bool(values) => values.clear(),
            Values::Int(values) => values.clear(),
            Values::Long(values) => values.clear(),
            Values::Double(values) => values.clear(),
            Values::Bytes { bytes, ends } => {
                bytes.clear();
                ends.clear();
            }
        }
    }

    /// Takes what waits into the digest.
    fn hash(&mut self) {
        let [repetitions, definitions, lengths, content] = &mut self.digests;
        hash(repetitions, &self.repetitions, |level, out| out.push(level as u8));
        hash(definitions, &self.definitions, |level, out| out.push(level as u8));
        match &self.values {
            Values::Bool(values) => hash(content, values, |value, out| out.push(u8::from(value))),
            Values::Int(values) => hash(content, values, |value, out| out.extend(value.to_le_bytes())),
            Values::Long(values) => hash(content, values, |value, out| out.extend(value.to_le_bytes())),
            Values::Double(values) => hash(content, values, |value, out| out.extend(value.to_bits().to_le_bytes())),
            Values::Bytes { bytes, ends } => {
                let mut start = 0;
                hash(lengths, ends, |end, out| out.extend((end - std::mem::replace(&mut start, end)).to_le_bytes()));
                content.write(bytes);
            }
        }
    }

    /// Adds the column to its file's digest.
    pub(super) fn add_to(&self, file: &mut XxHash3_128) {
        file.write(self.what.as_bytes());
        self.digests.iter().for_each(|part| file.write(&part.finish_128().to_le_bytes()));
    }
}

impl Values {
    fn push_bytes(&mut self, value: &[u8]) {
        if let Self::Bytes { bytes, ends } = self {
            bytes.extend_from_slice(value);
            // A row group is closed long before this is too much, and no record is larger than a batch may be.
            ends.push(bytes.len() as u32);
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Long(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Bytes { ends, .. } => ends.len(),
        }
    }

    /// Appends values of a column of bytes that were read back.
    pub(super) fn extend(&mut self, values: &[ByteArray]) {
        values.iter().for_each(|value| self.push_bytes(value.data()));
    }
}

/// Hashes values, encoded piece by piece.
fn hash<T: Copy>(into: &mut XxHash3_128, values: &[T], mut encode: impl FnMut(T, &mut Vec<u8>)) {
    let mut piece = Vec::with_capacity(PIECE_VALUES * 8);
    for values in values.chunks(PIECE_VALUES) {
        piece.clear();
        values.iter().for_each(|value| encode(*value, &mut piece));
        into.write(&piece);
    }
}

type Levels<'l> = ((i16, i16), &'l [i16], &'l [i16]);

/// Writes values that lie one after the other, some at a time: to the writer each is an object of its own.
fn write_bytes(
    out: &mut ColumnWriterImpl<'_, ByteArrayType>,
    (bytes, ends): (&Bytes, &[u32]),
    ((definition_max, repetition_max), definitions, repetitions): Levels<'_>,
) -> Result<()> {
    let levels = if definition_max > 0 { definitions.len() } else { ends.len() };
    let (mut batch, mut ends, mut level, mut start) = (Vec::with_capacity(BATCH), ends.iter(), 0, 0);
    while level < levels {
        let mut end = (level + BATCH).min(levels);
        // The entries of a row stay together.
        while repetitions.get(end).is_some_and(|repetition| *repetition > 0) {
            end += 1;
        }
        let here = level..end;
        let values = if definition_max > 0 {
            definitions[here.clone()].iter().filter(|definition| **definition == definition_max).count()
        } else {
            here.len()
        };
        batch.extend(ends.by_ref().take(values).map(|end| {
            let value = bytes.slice(start..*end as usize);
            start = *end as usize;
            ByteArray::from(value)
        }));
        let definitions = (definition_max > 0).then(|| &definitions[here.clone()]);
        let repetitions = (repetition_max > 0).then(|| &repetitions[here]);
        out.write_batch(&batch, definitions, repetitions)?;
        batch.clear();
        level = end;
    }
    Ok(())
}
