//! `fettle_ports::Index` on Qdrant Edge: takes calls off the async threads and names the collection in errors.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fettle_model::filter::Filter;
use fettle_model::{CollectionId, DocumentId, NamespaceId};
use fettle_ports::{
    Document, DocumentPage, DocumentQuery, Index, IndexError, NamedVector, ScoredDocument,
    VectorSpec,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::convert::{point_uuid, to_point};
use crate::fault::Fault;
use crate::read;
use crate::registry::{Busy, OpenError, Registry, remove_dropped};
use crate::shard::Shard;
use crate::space::Space;
use crate::writer::{self, Change};

/// Shards that stay open. Each holds some dozens of memory maps and files and a table of its documents' ids; a process
/// may have 65,530 maps and often 1,024 files.
const OPEN_SHARDS_MAX: usize = 32;

/// Full log files after which a shard is closed and opened again with a new log. The space of all but the last is given
/// back at once where the file system can, so this is rare: opening takes long in a large collection, and nothing is
/// written meanwhile. Where it cannot, this is 512 MiB.
const LOG_FILES_MAX: usize = 64;

/// Space that stays free. What is being written at one time in all collections must fit into it, because a write to a
/// full disk would kill the process; see `disk`.
const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

/// Reads at one time. Each holds a thread and up to a page of documents with their payloads.
const READS_MAX: usize = 16;

/// Writes that wait or are applied at one time. Each holds its documents in memory.
const WRITES_MAX: usize = 256;

/// What an index allows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Collections that are open at one time; one more is open while it is used.
    pub open_shards_max: usize,
    /// Full log files of a collection before it begins a new log.
    pub log_files_max: usize,
    /// Space on disk that is left free.
    pub disk_reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_shards_max: OPEN_SHARDS_MAX,
            log_files_max: LOG_FILES_MAX,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
        }
    }
}

/// Documents and vectors of all collections, in a directory of this machine.
///
/// Vectors are compared by cosine and kept at unit length, so they are returned with their direction but not their length.
/// Documents are ordered by a hash of their ids. A returned payload has the document's id at `_internal.document_id`.
#[derive(Debug)]
pub struct EdgeIndex {
    registry: Arc<Registry>,
    reads: Semaphore,
    writes: Semaphore,
}

impl Drop for EdgeIndex {
    /// Waits for changes that are being applied, so that the index can be opened again right after.
    fn drop(&mut self) {
        self.registry.close();
    }
}

impl EdgeIndex {
    /// Opens the index in `root`, making it if it does not exist.
    ///
    /// # Errors
    /// Where another process has it open, or `root` cannot be used.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::open_with(root, Limits::default())
    }

    /// Opens the index in `root` with other limits.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(root: &Path, limits: Limits) -> Result<Self, OpenError> {
        Ok(Self {
            registry: Arc::new(Registry::open(root, limits)?),
            reads: Semaphore::new(READS_MAX),
            writes: Semaphore::new(WRITES_MAX),
        })
    }

    /// How many collections are open at the moment.
    #[must_use]
    pub fn open_shards(&self) -> usize {
        self.registry.open_count()
    }

    /// Runs `work` on a collection, on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        work: impl FnOnce(&Space) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, IndexError> {
        let registry = Busy::on(&self.registry);
        let space = registry.space(namespace, collection);
        let task = tokio::task::spawn_blocking(move || {
            registry.make_room_for(&space);
            let outcome = work(&space);
            registry.make_room(0);
            outcome
        });
        let outcome = task
            .await
            .unwrap_or_else(|error| Err(Fault::Broken(format!("the work was cut short: {error}"))));
        outcome.map_err(|fault| fault.on(collection))
    }

    /// Reads a collection's shard.
    async fn read<T: Send + 'static>(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        work: impl FnOnce(&Shard) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, IndexError> {
        let _permit = permit(&self.reads, collection).await?;
        self.blocking(namespace, collection, |space| space.with(work))
            .await
    }

    /// Makes a change durable.
    async fn write(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        change: Change,
    ) -> Result<u64, IndexError> {
        let _permit = permit(&self.writes, collection).await?;
        let space = self.registry.space(namespace, collection);
        writer::submit(&self.registry, &space, change)
            .await
            .map_err(|fault| fault.on(collection))
    }
}

/// Waits for a turn.
async fn permit<'a>(
    turns: &'a Semaphore,
    collection: &CollectionId,
) -> Result<SemaphorePermit<'a>, IndexError> {
    turns
        .acquire()
        .await
        .map_err(|_| Fault::Broken("the index is closing".to_owned()).on(collection))
}

#[async_trait]
impl Index for EdgeIndex {
    async fn ensure(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        vectors: &[VectorSpec],
    ) -> Result<(), IndexError> {
        let vectors = vectors.to_vec();
        let registry = Arc::clone(&self.registry);
        self.blocking(namespace, collection, move |space| {
            registry.ensure_space()?;
            space.ensure(&vectors)
        })
        .await
    }

    async fn upsert(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        documents: Vec<Document>,
    ) -> Result<(), IndexError> {
        let points = documents
            .into_iter()
            .map(to_point)
            .collect::<Result<_, _>>()
            .map_err(|fault| fault.on(collection))?;
        self.write(namespace, collection, Change::Upsert(points))
            .await
            .map(|_| ())
    }

    async fn get(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        ids: &[DocumentId],
        with_vectors: bool,
    ) -> Result<Vec<Document>, IndexError> {
        let ids = ids.to_vec();
        self.read(namespace, collection, move |shard| {
            read::get(shard, &ids, with_vectors)
        })
        .await
    }

    async fn list(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        query: &DocumentQuery,
    ) -> Result<DocumentPage, IndexError> {
        let (id, query) = (collection.clone(), query.clone());
        self.read(namespace, collection, move |shard| {
            read::list(shard, &id, &query)
        })
        .await
    }

    async fn count(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        query: &DocumentQuery,
    ) -> Result<u64, IndexError> {
        let query = query.clone();
        self.read(namespace, collection, move |shard| {
            read::count(shard, &query)
        })
        .await
    }

    async fn delete(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        ids: &[DocumentId],
    ) -> Result<u64, IndexError> {
        let mut uuids: Vec<_> = ids.iter().map(point_uuid).collect();
        uuids.sort_unstable();
        uuids.dedup();
        self.write(namespace, collection, Change::Delete(uuids))
            .await
    }

    async fn search(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
        vector: &NamedVector,
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<ScoredDocument>, IndexError> {
        let (vector, filter) = (vector.clone(), filter.cloned());
        self.read(namespace, collection, move |shard| {
            read::search(shard, &vector, filter.as_ref(), limit)
        })
        .await
    }

    async fn drop_collection(
        &self,
        namespace: &NamespaceId,
        collection: &CollectionId,
    ) -> Result<(), IndexError> {
        let number = self.registry.tick();
        self.blocking(namespace, collection, move |space| {
            space
                .detach(number)?
                .map_or(Ok(()), |dropped| remove_dropped(&dropped))
        })
        .await?;
        self.registry.forget(namespace, collection);
        Ok(())
    }

    async fn check(&self) -> Result<(), IndexError> {
        let registry = Arc::clone(&self.registry);
        let task = tokio::task::spawn_blocking(move || registry.ensure_space());
        let outcome = task
            .await
            .unwrap_or_else(|error| Err(Fault::Broken(error.to_string())));
        // The port's errors name a collection; health is about all of them.
        let all: CollectionId = "col_all"
            .parse()
            .expect("the text has the prefix of a collection's id");
        outcome.map_err(|fault| fault.on(&all))
    }
}
