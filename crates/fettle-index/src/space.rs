//! One collection: its shard while that is open, and who may use it when.
//!
//! Owns the lock that keeps reading and writing apart from opening, closing, widening and dropping. Readers and the one
//! writer share it, which the library allows; everything else has it alone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fettle_ports::VectorSpec;

use crate::disk;
use crate::fault::Fault;
use crate::panics::contain;
use crate::shard::Shard;
use crate::writer::Queue;

/// What names of directories that are being made begin with; what is left of them is removed when the index opens.
pub(crate) const MAKING: &str = ".new-";
/// What names of directories that are being removed begin with.
pub(crate) const DROPPED: &str = ".dropped-";

/// One collection.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    shard: RwLock<Option<Shard>>,
    /// Set when the open shard can no longer be trusted.
    spoiled: AtomicBool,
    /// When it was last used, on the registry's clock.
    pub(crate) used_at: AtomicU64,
    pub(crate) queue: Mutex<Queue>,
    /// How many shards of the index are open.
    open: Arc<AtomicUsize>,
}

impl Space {
    pub(crate) fn new(dir: PathBuf, open: Arc<AtomicUsize>) -> Self {
        Self {
            dir,
            shard: RwLock::new(None),
            spoiled: AtomicBool::new(false),
            used_at: AtomicU64::new(0),
            queue: Mutex::new(Queue::default()),
            open,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether its shard is open, or just being opened or closed.
    pub(crate) fn is_open(&self) -> bool {
        self.shard.try_read().map_or(true, |shard| shard.is_some())
    }

    /// Uses the shard beside others, opening it first if it is not.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Shard) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let guard = self.opened()?;
        let Some(shard) = guard.as_ref() else {
            return Err(Fault::NoCollection);
        };
        let outcome = contain(|| work(shard));
        if outcome.as_ref().is_err_and(Fault::spoils_shard) {
            self.spoiled.store(true, Ordering::Release);
        }
        outcome
    }

    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Shard>>, Fault> {
        let guard = self.shard.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() && !self.spoiled.load(Ordering::Acquire) {
            return Ok(guard);
        }
        drop(guard);
        let mut guard = self.alone();
        if guard.is_none() {
            *guard = Some(Shard::open(&self.dir, &self.open)?);
        }
        Ok(RwLockWriteGuard::downgrade(guard))
    }

    /// The shard for one user alone; a spoiled one is closed first.
    fn alone(&self) -> RwLockWriteGuard<'_, Option<Shard>> {
        let mut guard = self.shard.write().unwrap_or_else(PoisonError::into_inner);
        if self.spoiled.swap(false, Ordering::AcqRel) {
            *guard = None;
        }
        guard
    }

    /// Closes the shard when nobody uses it. Its next use opens it again.
    pub(crate) fn close_if_unused(&self) {
        if let Ok(mut guard) = self.shard.try_write() {
            guard.take();
        }
    }

    /// Closes the shard as soon as nobody uses it.
    pub(crate) fn close(&self) {
        self.alone().take();
    }

    /// Makes the shard, or adds the vectors it lacks.
    pub(crate) fn ensure(&self, vectors: &[VectorSpec]) -> Result<(), Fault> {
        match self.with(|shard| shard.lacking(vectors)) {
            Ok(lacking) if lacking.is_empty() => return Ok(()),
            Ok(_) | Err(Fault::NoCollection) => {}
            Err(fault) => return Err(fault),
        }
        let mut guard = self.alone();
        if guard.is_none() {
            *guard = Some(self.open_or_create(vectors)?);
        }
        let Some(shard) = guard.as_mut() else {
            return Ok(());
        };
        let lacking = shard.lacking(vectors)?;
        let outcome = contain(|| shard.add_vectors(lacking));
        if outcome.is_err() {
            *guard = None;
        }
        outcome
    }

    fn open_or_create(&self, vectors: &[VectorSpec]) -> Result<Shard, Fault> {
        match Shard::open(&self.dir, &self.open) {
            Err(Fault::NoCollection) => {}
            outcome => return outcome,
        }
        let parent = self.dir.parent().unwrap_or(&self.dir);
        let making = self.sibling(MAKING);
        // Made aside and moved into place, so that a kill leaves either no collection or a whole one.
        if making.exists() {
            std::fs::remove_dir_all(&making).map_err(|error| Fault::io("clean up", &error))?;
        }
        Shard::create(&making, vectors)?;
        std::fs::rename(&making, &self.dir)
            .map_err(|error| Fault::io("move a new collection into place", &error))?;
        disk::sync_directory(parent)?;
        Shard::open(&self.dir, &self.open)
    }

    /// Closes the shard and moves its directory out of the way; returns where it is, for removing it.
    pub(crate) fn detach(&self, number: u64) -> Result<Option<PathBuf>, Fault> {
        let mut guard = self.alone();
        *guard = None;
        let dropped = self.sibling(&format!("{DROPPED}{number}-"));
        match std::fs::rename(&self.dir, &dropped) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::io("drop a collection", &error)),
        }
        if let Some(parent) = self.dir.parent() {
            disk::sync_directory(parent)?;
        }
        Ok(Some(dropped))
    }

    fn sibling(&self, prefix: &str) -> PathBuf {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        self.dir.with_file_name(format!("{prefix}{name}"))
    }
}
