//! The read-only connections.
//!
//! SQLite reads block, so they run on tokio's blocking threads; how many at once is limited here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fettle_ports::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection::open_reader;
use super::disk::Disk;
use super::failure::Failure;

/// Reads at once. They are short and mostly in memory, so a few keep the cores busy; more would only hold more caches.
const READERS_MAX: usize = 4;

/// A pool of read-only connections, opened when first needed.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    disk: Disk,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of the database at `path`.
    pub(super) fn new(path: &Path, disk: Disk) -> Self {
        Self {
            path: path.to_owned(),
            disk,
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs `work` over one snapshot of the database.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let unavailable = |message: String| StoreError::Unavailable { message };
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let result = readers.read_blocking(work);
            drop(permit);
            result.map_err(|failure| failure.into_store_error(&readers.disk))
        });
        task.await
            .map_err(|error| unavailable(format!("a read ended early: {error}")))?
    }

    fn read_blocking<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let idle = self.idle().pop();
        let db = match idle {
            Some(db) => db,
            None => open_reader(&self.path)?,
        };
        let result = snapshot(&db, work);
        // A connection that failed may be at fault itself; a fresh one costs little.
        if !matches!(result, Err(Failure::Sqlite(_))) {
            self.idle().push(db);
        }
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list of connections is whole at any moment, whatever panicked while it was held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn snapshot<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = db.unchecked_transaction()?;
    let value = work(&transaction)?;
    transaction.finish()?;
    Ok(value)
}
