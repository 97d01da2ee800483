//! What can go wrong inside a call, and how it is told to the caller.

use fettle_ports::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};

use super::disk::Disk;

/// A failure inside a call: SQLite's, or an answer that the caller is to get as it is.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The call is refused.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// The failure in the port's words. `disk` is asked where SQLite's word leaves open whether the disk is full.
    pub(super) fn into_store_error(self, disk: &Disk) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sqlite(error) => Outage::of(&error, disk).into(),
        }
    }
}

/// Why the database itself did not do its work. Unlike an error it can be told to every caller of a group.
#[derive(Debug, Clone)]
pub(super) enum Outage {
    /// There is no space.
    Full,
    /// Anything else.
    Unavailable(String),
}

impl Outage {
    /// What SQLite's error means.
    pub(super) fn of(error: &rusqlite::Error, disk: &Disk) -> Self {
        let is_full = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => true,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => disk.is_full(),
            _ => false,
        };
        if is_full {
            Self::Full
        } else {
            Self::Unavailable(error.to_string())
        }
    }
}

impl From<Outage> for StoreError {
    fn from(outage: Outage) -> Self {
        match outage {
            Outage::Full => Self::Full,
            Outage::Unavailable(message) => Self::Unavailable { message },
        }
    }
}

/// Turns a violated unique index into `AlreadyExists`; other errors stay.
pub(super) fn taken(error: rusqlite::Error, kind: &'static str, name: &str) -> Failure {
    let code = error.sqlite_error().map(|error| error.extended_code);
    if matches!(
        code,
        Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY)
    ) {
        let name = name.to_owned();
        StoreError::AlreadyExists { kind, name }.into()
    } else {
        error.into()
    }
}

/// The answer for a record that is not there, or is another tenant's.
pub(super) fn not_found(kind: &'static str, id: &str) -> Failure {
    let id = id.to_owned();
    StoreError::NotFound { kind, id }.into()
}

/// `NotFound` when a statement that should have changed the record changed nothing.
pub(super) fn changed(rows: usize, kind: &'static str, id: &str) -> Result<(), Failure> {
    if rows == 0 {
        Err(not_found(kind, id))
    } else {
        Ok(())
    }
}
