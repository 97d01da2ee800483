//! Writing a manifest, group by group.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use crate::row::ManifestRow;
use crate::schema::{Column, ManifestError, VERSION, VERSION_KEY, message_type};

/// Rows of a row group at most: a writer holds one group, and a reader looks up one group's pages at a time.
pub const ROW_GROUP_ROWS_MAX: usize = 1024;
/// Text of a row group at most, in bytes: rows with data in line can be large, and a group is held in memory.
pub const ROW_GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows of a page: a shard has as many, so reading it decompresses little else.
const PAGE_ROWS: usize = 64;

/// A manifest of `rows`, which must be numbered by position.
///
/// # Errors
/// When rows are out of order, or the codec fails.
pub fn write(rows: &[ManifestRow]) -> Result<Vec<u8>, ManifestError> {
    let mut writer = ManifestWriter::new()?;
    for row in rows {
        writer.push(row)?;
    }
    writer.finish()
}

/// Writes a manifest row by row, holding at most one group beside what is compressed.
pub struct ManifestWriter {
    file: SerializedFileWriter<Vec<u8>>,
    group: Group,
    rows: u64,
}

impl ManifestWriter {
    /// An empty manifest.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn new() -> Result<Self, ManifestError> {
        let file = open().map_err(|source| ManifestError::Write { source })?;
        Ok(Self {
            file,
            group: Group::default(),
            rows: 0,
        })
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// When its number is not its position, or the codec fails.
    pub fn push(&mut self, row: &ManifestRow) -> Result<(), ManifestError> {
        if u64::from(row.row) != self.rows {
            return Err(ManifestError::OutOfOrder {
                position: self.rows,
                given: row.row,
            });
        }
        self.group.push(row)?;
        self.rows += 1;
        if self.group.row.len() >= ROW_GROUP_ROWS_MAX
            || self.group.text_bytes >= ROW_GROUP_BYTES_MAX
        {
            self.flush()?;
        }
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The finished file.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn finish(mut self) -> Result<Vec<u8>, ManifestError> {
        self.flush()?;
        self.file
            .into_inner()
            .map_err(|source| ManifestError::Write { source })
    }

    fn flush(&mut self) -> Result<(), ManifestError> {
        if self.group.row.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        group
            .write(&mut self.file)
            .map_err(|source| ManifestError::Write { source })
    }
}

fn open() -> Result<SerializedFileWriter<Vec<u8>>, ParquetError> {
    let version = KeyValue::new(VERSION_KEY.to_owned(), VERSION.to_owned());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        // Rows are found by position; statistics would only repeat long texts.
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(concat!("fettle ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![version]))
        .build();
    SerializedFileWriter::new(Vec::new(), message_type()?, Arc::new(properties))
}

/// A group's values by column.
#[derive(Default)]
struct Group {
    row: Vec<i64>,
    collection_id: Vec<ByteArray>,
    source_kind: Vec<ByteArray>,
    source_id: Vec<ByteArray>,
    root_object_id: Vec<ByteArray>,
    source_collection_id: Vec<ByteArray>,
    source_collection_levels: Vec<i16>,
    size_bytes: Vec<i64>,
    fields: Vec<ByteArray>,
    blobs: Vec<ByteArray>,
    text_bytes: usize,
}

impl Group {
    fn push(&mut self, row: &ManifestRow) -> Result<(), ManifestError> {
        let fields = json_text(row, Column::Fields, &row.fields)?;
        let blobs = json_text(row, Column::Blobs, &row.blobs)?;
        self.text_bytes +=
            fields.len() + blobs.len() + row.source_id.len() + row.root_object_id.len();
        self.row.push(i64::from(row.row));
        self.collection_id.push(text(row.collection_id.as_str()));
        self.source_kind.push(text(row.source_kind.as_str()));
        self.source_id.push(text(&row.source_id));
        self.root_object_id.push(text(&row.root_object_id));
        self.source_collection_levels
            .push(i16::from(row.source_collection_id.is_some()));
        self.source_collection_id
            .extend(row.source_collection_id.iter().map(|id| text(id.as_str())));
        self.size_bytes
            .push(i64::try_from(row.size_bytes).unwrap_or(i64::MAX));
        self.fields.push(ByteArray::from(fields));
        self.blobs.push(ByteArray::from(blobs));
        Ok(())
    }

    fn write(&self, file: &mut SerializedFileWriter<Vec<u8>>) -> Result<(), ParquetError> {
        let mut group = file.next_row_group()?;
        for column in Column::ALL {
            let Some(mut writer) = group.next_column()? else {
                return Err(ParquetError::General(
                    "the schema has too few columns".to_owned(),
                ));
            };
            let levels = match column {
                Column::SourceCollectionId => Some(self.source_collection_levels.as_slice()),
                _ => None,
            };
            match writer.untyped() {
                ColumnWriter::Int64ColumnWriter(writer) => {
                    writer.write_batch(self.numbers(column), None, None)?
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    writer.write_batch(self.texts(column), levels, None)?
                }
                _ => {
                    return Err(ParquetError::General(
                        "the schema has a column of another type".to_owned(),
                    ));
                }
            };
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    fn numbers(&self, column: Column) -> &[i64] {
        match column {
            Column::SizeBytes => &self.size_bytes,
            _ => &self.row,
        }
    }

    fn texts(&self, column: Column) -> &[ByteArray] {
        match column {
            Column::CollectionId => &self.collection_id,
            Column::SourceKind => &self.source_kind,
            Column::SourceId => &self.source_id,
            Column::RootObjectId => &self.root_object_id,
            Column::SourceCollectionId => &self.source_collection_id,
            Column::Fields => &self.fields,
            Column::Blobs => &self.blobs,
            Column::Row | Column::SizeBytes => &[],
        }
    }
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

fn json_text<T: serde::Serialize>(
    row: &ManifestRow,
    column: Column,
    value: &T,
) -> Result<Vec<u8>, ManifestError> {
    serde_json::to_vec(value).map_err(|error| ManifestError::BadValue {
        row: u64::from(row.row),
        column: column.name(),
        detail: error.to_string(),
    })
}
