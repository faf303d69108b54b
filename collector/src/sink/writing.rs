//! One partition being written: its open files and what is open in them. Blocks: decoding, compression and files are all here.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use skidway_record::{Batch, Offset, PartitionId, Record, TopicName, TopicPartition};

use super::config::{Late, Layout, Schema};
use super::decisions::{Cut, Intent, Recipe};
use super::file::{Finished, RowFile};
use super::lane::{Cause, GRACE_MS, Lane, LaneCut, Rolling};
use super::parquet::{Field, Learning, Table};
use super::path::{Kept, cut as cut_to};
use super::rows::{Format, Rows, extension};

/// Bounds the topic in a file's name, which with all else in it takes at most 255 bytes.
pub(super) const TOPIC_BYTES_MAX: usize = 180;

/// Stands for a partition's number in the name of a file of several.
const MERGED: &str = "all";

/// Holds the folders of late records, if they are kept aside.
const LATE_FOLDER: &str = "late";

/// Tells how a piece of the log went into files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it did.
    All,
    /// The partition is to be cut before anything more.
    Cut(Cause),
    /// The batch that comes next cannot be decoded: offsets up to this one are in no file.
    Undecodable(u64, String),
}

/// Holds what a cut closes: offsets, and each file as it is decided and as it lies in the spool.
pub(super) struct Closing {
    pub(super) span: Range<u64>,
    /// By which records were late, and how many of them were dropped.
    pub(super) clock_ms: Option<i64>,
    pub(super) dropped: u64,
    pub(super) files: Vec<(Intent, Finished)>,
    /// How the files were made.
    pub(super) recipe: Recipe,
}

/// Writes one partition.
pub(super) struct Writing {
    of: TopicPartition,
    layout: Arc<Layout>,
    rolling: Rolling,
    spool: PathBuf,
    spooled: u64,
    lane: Lane,
    files: HashMap<String, RowFile>,
    rows: Rows,
    kept: Kept,
    /// What is over by then is late: the time of the first record since the last cut, so that files made again are the same.
    clock_ms: Option<i64>,
    /// If columns of Parquet files are learned.
    learning: Option<Learning>,
    /// Of the Parquet files until the next cut.
    table: Option<Arc<Table>>,
}

impl Writing {
    /// Stands at a frontier; files are written in the `spool` folder.
    pub(super) fn new(
        of: TopicPartition,
        (layout, rolling): (Arc<Layout>, Rolling),
        spool: PathBuf,
        frontier: u64,
    ) -> Self {
        let rows = Rows::new(&of.topic, layout.format, &layout.columns, layout.inline_json);
        Self {
            of,
            layout,
            rolling,
            spool,
            spooled: 0,
            lane: Lane::new(frontier),
            files: HashMap::new(),
            rows,
            kept: Kept::default(),
            clock_ms: None,
            learning: None,
            table: None,
        }
    }

    /// Takes another time to tell what is late than that of the first record.
    pub(super) fn set_clock(&mut self, clock_ms: Option<i64>) {
        self.clock_ms = clock_ms;
    }

    /// Lets it learn columns, if the sink says so.
    pub(super) fn learning(self, learning: Learning) -> Self {
        let learning = Some(learning).filter(|_| self.layout.schema == Schema::Infer);
        Self { learning, ..self }
    }

    /// Gives what is open.
    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Stands at another frontier, with nothing open: what was not decided is of no use, and offsets that cannot be had are passed over.
    pub(super) fn stand_at(&mut self, frontier: u64) {
        self.discard();
        self.lane = Lane::new(frontier);
        self.clock_ms = None;
    }

    /// Writes batches, the first of which contains the next offset, up to `end`; stops where the partition is to be cut.
    ///
    /// # Errors
    /// As the operating system says; nothing since the last cut is of use then, and the partition stands there again.
    pub(super) fn write(&mut self, batches: &[Batch], end: u64, now_ms: i64) -> io::Result<Progress> {
        let progress = self.try_write(batches, end, now_ms);
        if progress.is_err() {
            self.rewind();
        }
        progress
    }

    fn try_write(&mut self, batches: &[Batch], end: u64, now_ms: i64) -> io::Result<Progress> {
        self.make_table(batches, end)?;
        for batch in batches.iter().filter(|batch| batch.base_offset().0 < end) {
            let next = batch.next_offset().0;
            let decoded = match batch.verify_crc().and_then(|()| batch.decode()) {
                Ok(decoded) => decoded,
                Err(reason) => return Ok(Progress::Undecodable(next, reason.to_string())),
            };
            for record in decoded.records() {
                let record = match record {
                    Ok(record) => record,
                    Err(reason) => return Ok(Progress::Undecodable(next, reason.to_string())),
                };
                let offset = decoded.offset_of(&record);
                if !(self.lane.next()..end).contains(&offset.0) {
                    continue;
                }
                if let Some(cause) = self.write_row(offset, &record, now_ms)? {
                    return Ok(Progress::Cut(cause));
                }
            }
            self.lane.pass(next.min(end));
        }
        Ok(Progress::All)
    }

    /// Decides what columns the next Parquet files have, by all records at hand.
    fn make_table(&mut self, batches: &[Batch], end: u64) -> io::Result<()> {
        if self.layout.format != Format::Parquet || self.table.is_some() {
            return Ok(());
        }
        if let Some(learning) = &mut self.learning {
            // What cannot be decoded is told when it is written.
            for batch in batches.iter().map_while(|batch| batch.verify_crc().and_then(|()| batch.decode()).ok()) {
                for record in batch.records().map_while(Result::ok) {
                    if (self.lane.next()..end).contains(&batch.offset_of(&record).0) {
                        learning.look_at(record.value);
                    }
                }
            }
            learning.settle();
        }
        let table = Table::new(&self.layout.columns, self.fields()).map_err(io::Error::other)?;
        self.table = Some(Arc::new(table));
        Ok(())
    }

    /// Gives the columns that members of JSON values have.
    fn fields(&self) -> Option<&[Field]> {
        match (&self.layout.schema, &self.learning) {
            (Schema::None, _) => None,
            (Schema::Fields(fields), _) => Some(fields),
            (Schema::Infer, learning) => learning.as_ref().map(Learning::fields),
        }
    }

    /// Writes a record's row, unless a cut has to come first; tells of a cut that has to come now.
    fn write_row(&mut self, offset: Offset, record: &Record<'_>, now_ms: i64) -> io::Result<Option<Cause>> {
        let path = &self.layout.path;
        let kept = path.fill_kept(&mut self.kept, (&self.of.topic, self.of.partition), record);
        let mut folder = kept.folder();
        let aside;
        let late = self.layout.late;
        if late != Late::Keep {
            let clock_ms = *self.clock_ms.get_or_insert(now_ms);
            let is_late = kept.ends_ms().is_some_and(|ends| ends.saturating_add(GRACE_MS) <= clock_ms);
            if is_late && late == Late::Drop {
                self.lane.drop(offset.0, now_ms);
                return Ok(None);
            }
            if is_late {
                aside = format!("{LATE_FOLDER}/{folder}");
                folder = aside.trim_end_matches('/');
            }
        }
        let is_full = self.files.len() >= self.rolling.open_files_max;
        let file = match self.files.get_mut(folder) {
            Some(file) => file,
            None if is_full => return Ok(Some(Cause::OpenFiles)),
            None => {
                self.spooled += 1;
                let name = format!("{}-{}-{}", self.of.topic, self.of.partition, self.spooled);
                let file = RowFile::create(&self.spool.join(name), self.layout.compression, self.table.as_ref())?;
                self.files.entry(folder.to_owned()).or_insert(file)
            }
        };
        let at = (self.of.partition, offset);
        let has_grown = file.write(&mut self.rows, at, record, self.learning.as_mut())?;
        let records = self.lane.take(folder, offset.0, now_ms, || kept.ends_ms());
        if has_grown {
            self.lane.has_bytes(folder, file.bytes());
        }
        // What time alone brings is looked at between reads.
        let due =
            (has_grown || records >= self.rolling.records).then(|| self.lane.due(now_ms, &self.rolling)).flatten();
        Ok(due.filter(|cause| matches!(cause, Cause::Bytes | Cause::Records)))
    }

    /// Closes all files.
    ///
    /// # Errors
    /// As for [`Writing::write`].
    pub(super) fn cut(&mut self) -> io::Result<Closing> {
        let mut finished: HashMap<String, Finished> = HashMap::new();
        for (folder, file) in std::mem::take(&mut self.files) {
            match file.finish() {
                Ok(file) => _ = finished.insert(folder, file),
                Err(error) => {
                    finished.values().for_each(Finished::discard);
                    self.rewind();
                    return Err(error);
                }
            }
        }
        let recipe = Recipe { fields: self.fields().map(<[Field]>::to_vec), ..self.layout.recipe() };
        self.table = None;
        let LaneCut { span, dropped, files: closed } = self.lane.cut();
        let PartitionId(partition) = self.of.partition;
        let decided = closed.into_iter().filter_map(|file| {
            let written = finished.remove(&file.folder)?;
            let (first, last) = file.offsets;
            let intent = Intent {
                name: file_name(&self.of.topic, &partition.to_string(), file.offsets, &self.layout),
                folder: file.folder,
                first,
                last,
                records: file.records,
                row_bytes: written.row_bytes,
                digest: written.digest.clone(),
                continues: false,
            };
            Some((intent, written))
        });
        Ok(Closing { span, clock_ms: self.clock_ms.take(), dropped, files: decided.collect(), recipe })
    }

    /// Starts over at the last cut.
    fn rewind(&mut self) {
        self.discard();
        self.lane.rewind();
        self.clock_ms = None;
    }

    fn discard(&mut self) {
        self.files.drain().for_each(|(_, file)| file.discard());
        self.table = None;
    }
}

/// Names the files of several partitions by how many records of all were decided before: no other cuts of the topic have the same.
pub(super) fn name_merged<'c>(
    topic: &TopicName,
    before: u64,
    cuts: impl Iterator<Item = &'c mut Cut>,
    layout: &Layout,
) {
    let cuts: Vec<&mut Cut> = cuts.collect();
    let records: u64 = cuts.iter().map(|cut| cut.to - cut.from).sum();
    let name = file_name(topic, MERGED, (before, before + records - 1), layout);
    let mut begun = BTreeSet::new();
    for cut in cuts {
        cut.merged_at = Some(before);
        for file in &mut cut.files {
            file.name.clone_from(&name);
            file.continues = !begun.insert(file.folder.clone());
        }
    }
}

/// Names a file of a partition, or of several: unique, as no offset is in two files of a folder. Padded, so that names sort as offsets do.
fn file_name(topic: &TopicName, of: &str, (first, last): (u64, u64), layout: &Layout) -> String {
    let extension = extension(layout.format, layout.compression);
    format!("{}+{of}+{first:010}+{last:010}.{extension}", cut_to(topic.as_str(), TOPIC_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::config::SinkConfig;
    use crate::sink::parquet::digest;
    use skidway_daemon::config::Document;
    use skidway_record::{BatchBuilder, Compressor, EncodedHeaders, TopicName};
    use std::fs::File;
    use std::path::Path;
    use std::time::Duration;

    fn layout(keys: &str) -> Layout {
        let text = format!("[[sinks]]\nname = 'a'\ntopics = ['app']\nurl = 'file:///a'\n{keys}\n");
        let document = Document::parse("collector.toml", &text).unwrap();
        SinkConfig::all(&document.section()).remove(0).layout
    }

    /// Makes batches of ten records, each of which brings a member of its own.
    fn batches(records: u64) -> Vec<Batch> {
        let mut compressor = Compressor::new(1).unwrap();
        let batch = |base: u64| {
            let mut builder = BatchBuilder::new();
            for number in base..base + 10 {
                let value = format!(
                    "{{\"n\":{number},\"m{}\":\"x\",\"odd\":{}}}",
                    base / 10,
                    ["1", "[1]"][(number % 2) as usize]
                );
                builder.push(number as i64, None, Some(value.as_bytes()), &EncodedHeaders::none());
            }
            builder.finish(&mut compressor).unwrap().with_base_offset(Offset(base))
        };
        (0..records).step_by(10).map(batch).collect()
    }

    fn writing(layout: Layout, spool: &Path, (frontier, records): (u64, u64)) -> Writing {
        let of = TopicPartition::new(TopicName::new("app").unwrap(), 0);
        let (age, idle) = (Duration::MAX, Duration::MAX);
        let rolling = Rolling { bytes: u64::MAX, records, age, idle, open_files_max: 10 };
        Writing::new(of, (Arc::new(layout), rolling), spool.to_owned(), frontier)
    }

    #[test]
    fn parquet_files_are_made_again_with_the_columns_they_had() {
        let (temp, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let batches = batches(100);
        let learning = Learning::new(Arc::default(), Vec::new());
        let mut first =
            writing(layout("path = ''\nformat = 'parquet'\nschema = 'infer'"), temp.path(), (0, 25)).learning(learning);
        let mut columns = Vec::new();
        while first.lane().next() < 100 {
            let next = first.lane().next();
            // One batch is read at a time: the other members are not known when the file is opened.
            first.write(&batches[next as usize / 10..=next as usize / 10], u64::MAX, 0).unwrap();
            if first.lane.due(0, &first.rolling).is_none() && first.lane().next() < 100 {
                continue;
            }
            let cut = first.cut().unwrap();
            columns.push(cut.recipe.fields.as_ref().unwrap().len());
            let layout = Layout::of(&cut.recipe).unwrap();
            let mut second = writing(layout, again.path(), (cut.span.start, u64::MAX));
            second.write(&batches[cut.span.start as usize / 10..], cut.span.end, 0).unwrap();
            let made = second.cut().unwrap();
            assert_eq!(made.files[0].0, cut.files[0].0);
            let made = File::open(&made.files[0].1.path).unwrap();
            assert_eq!(digest(made).unwrap(), cut.files[0].0.digest);
        }
        assert_eq!(columns, [3, 5, 8, 10]);
    }

    #[test]
    fn late_records_go_the_same_way_when_files_are_made_again() {
        let (temp, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let hour = 3_600_000;
        for (late, folders, dropped) in
            [("keep", vec!["hour=00"], 0), ("aside", vec!["late/hour=00"], 0), ("drop", vec![], 10)]
        {
            let keys = format!("path = 'hour=%H'\nformat = 'raw'\nlate = '{late}'");
            let mut first = writing(layout(&keys), temp.path(), (0, u64::MAX));
            first.write(&batches(10), u64::MAX, 2 * hour).unwrap();
            let cut = first.cut().unwrap();
            let mut second = writing(layout(&keys), again.path(), (0, u64::MAX));
            second.set_clock(cut.clock_ms);
            second.write(&batches(10), u64::MAX, 0).unwrap();
            let made = second.cut().unwrap();
            let intents = |cut: &Closing| cut.files.iter().map(|(intent, _)| intent.clone()).collect::<Vec<_>>();
            assert_eq!((intents(&made), made.dropped), (intents(&cut), dropped));
            assert_eq!(intents(&cut).iter().map(|it| it.folder.as_str()).collect::<Vec<_>>(), folders);
        }
    }
}
