//! The Parquet codec of a job's input rows.
//!
//! Owns the manifest's schema and version. It must not know where manifests are kept or what is done with their rows.

mod read;
mod row;
mod schema;
mod write;

pub use read::ManifestReader;
pub use row::{ManifestBlob, ManifestRow, SourceKind};
pub use schema::ManifestError;
pub use write::{ManifestWriter, ROW_GROUP_BYTES_MAX, ROW_GROUP_ROWS_MAX, write};
