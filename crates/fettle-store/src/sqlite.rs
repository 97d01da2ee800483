//! The state database: one SQLite file, one writer thread with group commit, a few read-only connections.
//!
//! Owns the store's life: open, lock, migrate, close. Every acknowledged write has been synced to the disk. What a table
//! means is said in `schema.rs`; which rows a call reads or writes, in the file of its subject.

mod batches;
mod codec;
mod connection;
mod disk;
mod error_groups;
mod event_port;
mod events;
mod evidence;
mod failure;
mod filter;
mod history;
mod listing;
mod lock;
mod objects;
mod port;
mod readers;
mod remedies;
mod reopen;
mod requests;
mod resources;
mod rows;
mod schema;
mod steps;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fettle_ports::StoreError;
use rusqlite::Connection;

use self::connection::{create_private, open_writer};
use self::disk::Disk;
use self::failure::Failure;
use self::lock::DatabaseLock;
use self::readers::Readers;
use self::writer::Writer;

/// Why the state database could not be opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder or file cannot be made or reached.
    #[error("open the state database {}: check that the folder exists and may be written", .path.display())]
    Folder {
        /// The file that was asked for or its lock.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error(
        "the state database {} is in use by {holder}: stop that process, or choose another data folder",
        .path.display()
    )]
    InUse {
        /// The database.
        path: PathBuf,
        /// `process 123`, or `another process` where its number is not known.
        holder: String,
    },
    /// It was written by a newer version.
    #[error(
        "the state database {} has schema version {found}, this version of fettle knows at most {known}: upgrade fettle",
        .path.display()
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Latest version that this code knows.
        known: i64,
    },
    /// It is a file of something else.
    #[error("{} is not a fettle state database: choose another data folder", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file system cannot share memory between connections, as network file systems cannot.
    #[error(
        "the file system of {} does not support write-ahead logging (SQLite stays in mode `{mode}`): put the data folder on a local disk",
        .path.display()
    )]
    NoWriteAheadLog {
        /// The database.
        path: PathBuf,
        /// The journal mode that SQLite fell back to.
        mode: String,
    },
    /// There is no space for it.
    #[error("no space left for the state database {}: free some, or choose another data folder", .path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("open the state database {}", .path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        #[source]
        source: rusqlite::Error,
    },
    /// No thread could be started.
    #[error("start the writer of the state database {}", .path.display())]
    Thread {
        /// The database.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Durable state in one SQLite file. It answers only within a tokio runtime; dropping it waits for what was accepted.
#[derive(Debug)]
pub struct SqliteStore {
    readers: Arc<Readers>,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the database file at `path`, making it and its folder where they do not exist, and brings its schema up to date.
    ///
    /// The file is locked for this process (`<path>.lock`) until the store is dropped or the process ends in any way.
    ///
    /// # Errors
    /// See `OpenError`; each says what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        create_private(path)?;
        let lock = DatabaseLock::take(path)?;
        let db = open_writer(path)?;
        let disk = Disk::of(path);
        let writer = Writer::start(db, disk.clone(), lock).map_err(|source| OpenError::Thread {
            path: path.to_owned(),
            source,
        })?;
        let readers = Arc::new(Readers::new(path, disk));
        Ok(Self { readers, writer })
    }

    /// Runs `work` in the writer thread; answers after it is durable. `work` may run twice when a neighbour in its group
    /// failed, so it must depend on nothing but its captures and the database.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Runs `work` on a read-only connection, over one consistent snapshot that holds every acknowledged write.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.readers.read(work).await
    }
}

#[cfg(test)]
mod tests;
