//! State in SQLite, blobs in files or S3.
//!
//! Owns how the records of `fettle-ports` are laid out, made durable and found again. It must not decide anything: the
//! orchestrator's rules live in `fettle-core`, tenancy is given by the caller and only enforced here.

pub mod blobs;
pub mod sqlite;

pub use blobs::{BlobOpenError, ObjectBlobs};
pub use sqlite::{OpenError, SqliteStore};
