//! All collections of an index: where they lie, which are open, and that nobody else has them.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fettle_model::{CollectionId, NamespaceId};

use crate::disk;
use crate::fault::Fault;
use crate::index::Limits;
use crate::space::{DROPPED, MAKING, Space};

/// The file whose lock says that the index is in use.
const LOCK: &str = ".lock";

/// Why an index did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The index's directory.
        path: PathBuf,
    },
    /// The directory cannot be made, read or locked.
    #[error("{path} cannot be used")]
    Io {
        /// The index's directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// How long closing the index waits for those who still work. A group of changes takes less than a second; a list of a
/// large collection may take some.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

type Key = (NamespaceId, CollectionId);

/// All collections that were used since the index opened.
#[derive(Debug)]
pub(crate) struct Registry {
    root: PathBuf,
    spaces: Mutex<HashMap<Key, Arc<Space>>>,
    limits: Limits,
    /// How many shards are open.
    open: Arc<AtomicUsize>,
    clock: AtomicU64,
    /// How many threads work on shards.
    busy: Mutex<usize>,
    idle: Condvar,
    /// Held for as long as the index is open. The shards' logs are renewed without asking the library, so its own lock on
    /// them does not protect them.
    lock: File,
}

/// A thread that works on shards. While one does, the index does not count as closed.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Registry>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy -= 1;
        self.0.idle.notify_all();
    }
}

impl Busy {
    pub(crate) fn on(registry: &Arc<Registry>) -> Self {
        *registry.busy.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(Arc::clone(registry))
    }
}

impl std::ops::Deref for Busy {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.0
    }
}

impl Registry {
    pub(crate) fn open(root: &Path, limits: Limits) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io {
            path: root.to_owned(),
            source,
        };
        std::fs::create_dir_all(root).map_err(failed)?;
        let lock = File::create(root.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: root.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        remove_leftovers(root).map_err(failed)?;
        Ok(Self {
            root: root.to_owned(),
            spaces: Mutex::new(HashMap::new()),
            limits,
            open: Arc::default(),
            clock: AtomicU64::new(1),
            busy: Mutex::new(0),
            idle: Condvar::new(),
            lock,
        })
    }

    /// Whether there is space to write at all.
    pub(crate) fn ensure_space(&self) -> Result<(), Fault> {
        disk::ensure_space(&self.root, 0, self.limits.disk_reserve_bytes)
    }

    /// Waits for those who still work, closes all shards and lets others open the index.
    pub(crate) fn close(&self) {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (busy, _) = self
            .idle
            .wait_timeout_while(busy, CLOSE_WAIT, |busy| *busy > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if *busy > 0 {
            tracing::warn!(
                threads = *busy,
                "the document index was left while it is in use"
            );
            return;
        }
        for space in self.spaces().values() {
            space.close_if_unused();
        }
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the document index did not unlock");
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The next number of a count that also serves as a clock.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// The collection, whether it exists or not.
    pub(crate) fn space(&self, namespace: &NamespaceId, collection: &CollectionId) -> Arc<Space> {
        let key = (namespace.clone(), collection.clone());
        let mut spaces = self.spaces();
        let space = spaces.entry(key).or_insert_with(|| {
            let dir = self.root.join(namespace.as_str()).join(collection.as_str());
            Arc::new(Space::new(dir, Arc::clone(&self.open)))
        });
        space.used_at.store(self.tick(), Ordering::Relaxed);
        Arc::clone(space)
    }

    /// Closes shards that were not used for longest, until `more` can be opened. Those in use stay open.
    pub(crate) fn make_room(&self, more: usize) {
        let excess = (self.open_count() + more).saturating_sub(self.limits.open_shards_max);
        if excess == 0 {
            return;
        }
        let mut open: Vec<_> = self
            .spaces()
            .values()
            .filter(|space| space.is_open())
            .cloned()
            .collect();
        open.sort_by_key(|space| space.used_at.load(Ordering::Relaxed));
        for space in open.iter().take(excess) {
            space.close_if_unused();
        }
    }

    /// Makes room for a collection's shard, should it have to be opened.
    pub(crate) fn make_room_for(&self, space: &Space) {
        if !space.is_open() {
            self.make_room(1);
        }
    }

    /// Forgets a collection that nobody uses at the moment.
    pub(crate) fn forget(&self, namespace: &NamespaceId, collection: &CollectionId) {
        let key = (namespace.clone(), collection.clone());
        let mut spaces = self.spaces();
        // The map's own reference is the last one; under the map's lock no other can appear.
        if spaces
            .get(&key)
            .is_some_and(|space| Arc::strong_count(space) == 1)
        {
            spaces.remove(&key);
        }
    }

    /// How many shards are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn spaces(&self) -> MutexGuard<'_, HashMap<Key, Arc<Space>>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creating or dropping a collection may have been cut short; what they leave has no name that a collection can have.
fn remove_leftovers(root: &Path) -> std::io::Result<()> {
    for namespace in std::fs::read_dir(root)? {
        let namespace = namespace?;
        if !namespace.file_type()?.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(namespace.path())? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(MAKING) || name.starts_with(DROPPED) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Removes what is left of a dropped collection; a failure only leaves rubbish that the next start removes.
pub(crate) fn remove_dropped(path: &Path) -> Result<(), Fault> {
    std::fs::remove_dir_all(path).map_err(|error| Fault::io("remove a dropped collection", &error))
}
