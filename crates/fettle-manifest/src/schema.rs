//! The columns of a manifest, its version mark and its errors.

use std::sync::Arc;

use fettle_model::RowNumber;
use parquet::errors::ParquetError;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;
use thiserror::Error;

/// Key in the file's metadata that marks a manifest.
pub(crate) const VERSION_KEY: &str = "fettle.manifest.version";
/// The version that is written, and the only one that is read.
pub(crate) const VERSION: &str = "1";

const MESSAGE: &str = "message manifest {
  required int64 row;
  required binary collection_id (utf8);
  required binary source_kind (utf8);
  required binary source_id (utf8);
  required binary root_object_id (utf8);
  optional binary source_collection_id (utf8);
  required int64 size_bytes;
  required binary fields (utf8);
  required binary blobs (utf8);
}";

/// The columns, in the order of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Row,
    CollectionId,
    SourceKind,
    SourceId,
    RootObjectId,
    SourceCollectionId,
    SizeBytes,
    Fields,
    Blobs,
}

impl Column {
    pub(crate) const ALL: [Self; 9] = [
        Self::Row,
        Self::CollectionId,
        Self::SourceKind,
        Self::SourceId,
        Self::RootObjectId,
        Self::SourceCollectionId,
        Self::SizeBytes,
        Self::Fields,
        Self::Blobs,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::CollectionId => "collection_id",
            Self::SourceKind => "source_kind",
            Self::SourceId => "source_id",
            Self::RootObjectId => "root_object_id",
            Self::SourceCollectionId => "source_collection_id",
            Self::SizeBytes => "size_bytes",
            Self::Fields => "fields",
            Self::Blobs => "blobs",
        }
    }
}

/// Why a manifest could not be written or read.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Rows must be numbered by their position.
    #[error(
        "row {given} of the manifest stands at position {position}; rows must be numbered from 0 without gaps"
    )]
    OutOfOrder {
        /// Where it stands.
        position: u64,
        /// The number it has.
        given: RowNumber,
    },
    /// Not Parquet, cut off, or damaged.
    #[error(
        "the manifest is not a readable Parquet file; it is cut off, damaged, or something else"
    )]
    Unreadable {
        /// What the codec found.
        #[source]
        source: ParquetError,
    },
    /// Parquet at its ends, but damaged within.
    #[error("the manifest is damaged; write it again by retrying the tier")]
    Damaged,
    /// Parquet, but not a manifest.
    #[error("the Parquet file is not a Fettle manifest: {detail}")]
    Foreign {
        /// What gave it away.
        detail: String,
    },
    /// A manifest of another version of Fettle.
    #[error(
        "the manifest has version {found}, this program reads version {VERSION}; run the same version of Fettle everywhere"
    )]
    Version {
        /// Its version.
        found: String,
    },
    /// A row has a value that cannot be.
    #[error("row {row} of the manifest has a bad `{column}`: {detail}")]
    BadValue {
        /// The row's position.
        row: u64,
        /// The column.
        column: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// There is no such row.
    #[error("the manifest has {rows} rows, row {row} was asked for")]
    NoSuchRow {
        /// The row.
        row: RowNumber,
        /// How many there are.
        rows: u64,
    },
    /// It could not be written.
    #[error("the manifest could not be written")]
    Write {
        /// Why.
        #[source]
        source: ParquetError,
    },
}

/// The schema as Parquet wants it.
pub(crate) fn message_type() -> Result<TypePtr, ParquetError> {
    parse_message_type(MESSAGE).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_columns_in_their_order() {
        let schema = message_type().unwrap();
        let names: Vec<_> = schema
            .get_fields()
            .iter()
            .map(|field| field.name().to_owned())
            .collect();
        assert_eq!(names, Column::ALL.map(|column| column.name().to_owned()));
    }
}
