//! Reading chosen rows of a manifest without holding the rest.
//!
//! Owns the way from row numbers to groups and pages. It must not keep rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fettle_model::{CollectionId, RowNumber};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};

use crate::row::{ManifestRow, SourceKind};
use crate::schema::{Column, ManifestError, VERSION, VERSION_KEY, message_type};

/// A manifest that is open for reading. Share it by reference; reading does not change it.
pub struct ManifestReader {
    file: Box<dyn FileReader>,
    /// First row of each group, and the end of the last.
    starts: Vec<u64>,
}

/// Rows of one group as runs of (rows to skip, rows to read).
type Runs = Vec<(usize, usize)>;

impl ManifestReader {
    /// Opens a manifest in memory.
    ///
    /// # Errors
    /// When it is not a whole manifest of this version.
    pub fn open(bytes: Bytes) -> Result<Self, ManifestError> {
        guarded(|| Self::open_chunks(bytes))
    }

    /// Opens a manifest in a file; only what is asked for is read.
    ///
    /// # Errors
    /// When it is not a whole manifest of this version.
    pub fn open_file(file: File) -> Result<Self, ManifestError> {
        guarded(|| Self::open_chunks(file))
    }

    fn open_chunks<R: ChunkReader + 'static>(chunks: R) -> Result<Self, ManifestError> {
        let file = SerializedFileReader::new(chunks).map_err(unreadable)?;
        check_version(&file)?;
        check_columns(&file)?;
        let mut starts = vec![0];
        let mut end = 0_u64;
        for group in file.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows())
                .map_err(|_| foreign("a row group has a negative length"))?;
            end = end.saturating_add(rows);
            starts.push(end);
        }
        Ok(Self {
            file: Box::new(file),
            starts,
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The rows with these numbers, which must ascend, in that order.
    ///
    /// # Errors
    /// When a row is not there, or the file is damaged.
    pub fn read(&self, numbers: &[RowNumber]) -> Result<Vec<ManifestRow>, ManifestError> {
        guarded(|| self.read_rows(numbers))
    }

    fn read_rows(&self, numbers: &[RowNumber]) -> Result<Vec<ManifestRow>, ManifestError> {
        let mut rows = Vec::with_capacity(numbers.len());
        let mut rest = numbers;
        while let Some(first) = rest.first() {
            let group = self.group_of(*first)?;
            let end = self.starts[group + 1];
            let cut = rest
                .iter()
                .position(|row| u64::from(*row) >= end)
                .unwrap_or(rest.len());
            let (here, later) = rest.split_at(cut);
            self.read_group(group, here, &mut rows)?;
            rest = later;
        }
        Ok(rows)
    }

    fn group_of(&self, row: RowNumber) -> Result<usize, ManifestError> {
        let wanted = u64::from(row);
        if wanted >= self.rows() {
            return Err(ManifestError::NoSuchRow {
                row,
                rows: self.rows(),
            });
        }
        // `starts[0]` is zero, so at least one start is not beyond the row.
        Ok(self.starts.partition_point(|start| *start <= wanted) - 1)
    }

    fn read_group(
        &self,
        group: usize,
        numbers: &[RowNumber],
        into: &mut Vec<ManifestRow>,
    ) -> Result<(), ManifestError> {
        let runs = runs(self.starts[group], numbers)?;
        let reader = self.file.get_row_group(group).map_err(unreadable)?;
        let mut columns = Columns::read(reader.as_ref(), &runs, numbers.len())?;
        for (index, number) in numbers.iter().enumerate() {
            into.push(columns.row(index, *number)?);
        }
        Ok(())
    }
}

/// The codec panics on some damage; to a caller that is an error like others. Nothing is shared that could be left half done.
fn guarded<T>(work: impl FnOnce() -> Result<T, ManifestError>) -> Result<T, ManifestError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ManifestError::Damaged))
}

fn unreadable(source: ParquetError) -> ManifestError {
    ManifestError::Unreadable { source }
}

fn foreign(detail: impl Into<String>) -> ManifestError {
    ManifestError::Foreign {
        detail: detail.into(),
    }
}

fn check_version<R: ChunkReader + 'static>(
    file: &SerializedFileReader<R>,
) -> Result<(), ManifestError> {
    let pairs = file.metadata().file_metadata().key_value_metadata();
    let mark = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == VERSION_KEY));
    match mark.and_then(|pair| pair.value.as_deref()) {
        Some(VERSION) => Ok(()),
        Some(found) => Err(ManifestError::Version {
            found: found.to_owned(),
        }),
        None => Err(foreign(format!("it has no `{VERSION_KEY}`"))),
    }
}

fn check_columns<R: ChunkReader + 'static>(
    file: &SerializedFileReader<R>,
) -> Result<(), ManifestError> {
    let expected = message_type().map_err(unreadable)?;
    let found = file.metadata().file_metadata().schema();
    if found.get_fields() == expected.get_fields() {
        Ok(())
    } else {
        Err(foreign("it has other columns"))
    }
}

/// How far to skip and read to meet exactly `numbers` of a group that begins at `start`.
fn runs(start: u64, numbers: &[RowNumber]) -> Result<Runs, ManifestError> {
    let mut runs: Runs = Vec::new();
    let mut at = start;
    for number in numbers {
        let number = u64::from(*number);
        let gap = number
            .checked_sub(at)
            .ok_or_else(|| foreign("rows were asked for out of order"))?;
        match runs.last_mut() {
            Some((_, length)) if gap == 0 => *length += 1,
            _ => runs.push((usize::try_from(gap).unwrap_or(usize::MAX), 1)),
        }
        at = number + 1;
    }
    Ok(runs)
}

/// The values of the wanted rows by column.
struct Columns {
    numbers: [Vec<i64>; 2],
    texts: [std::vec::IntoIter<ByteArray>; 7],
    source_collection_levels: Vec<i16>,
}

impl Columns {
    fn read(group: &dyn RowGroupReader, runs: &Runs, wanted: usize) -> Result<Self, ManifestError> {
        let mut numbers = Vec::new();
        let mut texts = Vec::new();
        let mut source_collection_levels = Vec::new();
        for (index, column) in Column::ALL.into_iter().enumerate() {
            let mut levels = Vec::new();
            match group.get_column_reader(index).map_err(unreadable)? {
                ColumnReader::Int64ColumnReader(mut reader) => {
                    let mut values = Vec::with_capacity(wanted);
                    for (skip, length) in runs {
                        reader.skip_records(*skip).map_err(unreadable)?;
                        reader
                            .read_records(*length, None, None, &mut values)
                            .map_err(unreadable)?;
                    }
                    check_length(column, values.len(), wanted)?;
                    numbers.push(values);
                }
                ColumnReader::ByteArrayColumnReader(mut reader) => {
                    let mut values = Vec::with_capacity(wanted);
                    for (skip, length) in runs {
                        reader.skip_records(*skip).map_err(unreadable)?;
                        reader
                            .read_records(*length, Some(&mut levels), None, &mut values)
                            .map_err(unreadable)?;
                    }
                    if column == Column::SourceCollectionId {
                        check_length(column, levels.len(), wanted)?;
                        source_collection_levels = levels;
                    } else {
                        check_length(column, values.len(), wanted)?;
                    }
                    texts.push(values.into_iter());
                }
                _ => return Err(foreign("it has a column of another type")),
            }
        }
        let numbers = numbers
            .try_into()
            .map_err(|_| foreign("it has other columns"))?;
        let texts = texts
            .try_into()
            .map_err(|_| foreign("it has other columns"))?;
        Ok(Self {
            numbers,
            texts,
            source_collection_levels,
        })
    }

    fn row(&mut self, index: usize, number: RowNumber) -> Result<ManifestRow, ManifestError> {
        let row = u64::from(number);
        if self.numbers[0][index] != i64::from(number) {
            let detail = format!("it says {}", self.numbers[0][index]);
            return Err(bad(row, Column::Row, detail));
        }
        let collection_id = self.text(row, Column::CollectionId)?;
        let kind = self.text(row, Column::SourceKind)?;
        let source_collection_id = match self.source_collection_levels.get(index) {
            Some(1) => Some(collection(
                row,
                Column::SourceCollectionId,
                self.text(row, Column::SourceCollectionId)?,
            )?),
            _ => None,
        };
        let size = self.numbers[1][index];
        Ok(ManifestRow {
            row: number,
            collection_id: collection(row, Column::CollectionId, collection_id)?,
            source_kind: SourceKind::parse(&kind)
                .ok_or_else(|| bad(row, Column::SourceKind, format!("`{kind}` is no kind")))?,
            source_id: self.text(row, Column::SourceId)?,
            root_object_id: self.text(row, Column::RootObjectId)?,
            source_collection_id,
            size_bytes: u64::try_from(size)
                .map_err(|_| bad(row, Column::SizeBytes, format!("{size} is negative")))?,
            fields: self.json(row, Column::Fields)?,
            blobs: self.json(row, Column::Blobs)?,
        })
    }

    fn next(&mut self, row: u64, column: Column) -> Result<ByteArray, ManifestError> {
        let index = match column {
            Column::CollectionId => 0,
            Column::SourceKind => 1,
            Column::SourceId => 2,
            Column::RootObjectId => 3,
            Column::SourceCollectionId => 4,
            Column::Fields => 5,
            Column::Blobs | Column::Row | Column::SizeBytes => 6,
        };
        self.texts[index]
            .next()
            .ok_or_else(|| bad(row, column, "it is missing"))
    }

    fn text(&mut self, row: u64, column: Column) -> Result<String, ManifestError> {
        let bytes = self.next(row, column)?;
        String::from_utf8(bytes.data().to_vec())
            .map_err(|error| bad(row, column, error.to_string()))
    }

    fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        row: u64,
        column: Column,
    ) -> Result<T, ManifestError> {
        let bytes = self.next(row, column)?;
        serde_json::from_slice(bytes.data()).map_err(|error| bad(row, column, error.to_string()))
    }
}

fn check_length(column: Column, found: usize, wanted: usize) -> Result<(), ManifestError> {
    if found == wanted {
        return Ok(());
    }
    Err(foreign(format!(
        "column `{}` ends early: {found} of {wanted} values",
        column.name()
    )))
}

fn collection(row: u64, column: Column, text: String) -> Result<CollectionId, ManifestError> {
    text.parse()
        .map_err(|error: fettle_model::IdError| bad(row, column, error.to_string()))
}

fn bad(row: u64, column: Column, detail: impl Into<String>) -> ManifestError {
    ManifestError::BadValue {
        row,
        column: column.name(),
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests;
