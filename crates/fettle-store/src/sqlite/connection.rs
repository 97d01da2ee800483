//! How connections are opened and set up.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::OpenError;
use super::disk::Disk;
use super::failure::Outage;
use super::schema::{check_version, migrate};

/// How long a statement waits for a lock that another program (a backup, a shell) holds. The writer thread is the only
/// writer of ours, so this is never waited for in normal work.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements kept per connection: more than there are different ones in this room.
const STATEMENTS_MAX: usize = 128;

/// Page cache per connection in KiB (negative: SQLite's way to say KiB instead of pages).
const CACHE_KIB: i64 = -16 * 1024;

/// The log is cut back to this many bytes after a checkpoint, so that one large transaction does not keep the disk.
const LOG_BYTES_KEPT_MAX: i64 = 64 * 1024 * 1024;

/// Makes the database file and its folder where there are none, readable for its owner only: it holds users' metadata.
pub(super) fn create_private(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    // SQLite syncs the folder for the log that it makes itself; the entry of the database is ours to sync.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// The connection of the writer thread, on a migrated database.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let failed = |source| database_error(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    set_up(&db).map_err(failed)?;
    // Before the first pragma that writes: a file that is not ours, or too new, stays as it is.
    check_version(&db, path)?;
    let mode: String = db
        .query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::NoWriteAheadLog {
            path: path.to_owned(),
            mode,
        });
    }
    set_up_writes(&db).map_err(failed)?;
    migrate(&db, path)?;
    Ok(db)
}

fn set_up_writes(db: &Connection) -> rusqlite::Result<()> {
    // FULL syncs the log at every commit; NORMAL would lose acknowledged writes with the power. Group commit shares the
    // cost among all who wait at that moment.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT_MAX)?;
    Ok(())
}

/// A connection that cannot write.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    set_up(&db)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// What reading and writing connections have in common. Memory mapping stays off: with it, a disk that fails to read ends
/// the process with SIGBUS instead of giving an error.
fn set_up(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.pragma_update(None, "mmap_size", 0)?;
    db.pragma_update(None, "cache_size", CACHE_KIB)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// What SQLite's error means when opening.
pub(super) fn database_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    if source.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
        return OpenError::Foreign { path };
    }
    match Outage::of(&source, &Disk::of(&path)) {
        Outage::Full => OpenError::Full { path },
        Outage::Unavailable(_) => OpenError::Database { path, source },
    }
}
