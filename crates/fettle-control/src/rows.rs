//! Makes a job's manifest from the batch's objects or from documents of earlier tiers.
//!
//! A manifest only grows: rows that it had keep their numbers, so their outcomes stay true when a tier is tried again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fettle_core::{Batch, Job, SkippedRows};
use fettle_manifest::{
    ManifestBlob, ManifestError, ManifestReader, ManifestRow, ManifestWriter, SourceKind,
};
use fettle_model::{CollectionId, DocumentId, JobId, ManifestRef, RowNumber, RowSizes};
use fettle_ports::{
    BlobError, CollectionRecord, CollectionSource, Document, DocumentQuery, IndexError,
    ObjectRecord, StoreError, StoreExt,
};

use serde_json::{Map, Value};

use crate::control::Shared;

/// Objects or documents that are read at a time; a page stays small beside the manifest itself.
const PAGE: usize = 500;

/// Why a manifest could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowsError {
    #[error("{kind} `{id}` does not exist any more")]
    Gone { kind: &'static str, id: String },
    #[error("the manifest would have more than {} rows", RowNumber::MAX)]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl RowsError {
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Store(StoreError::Full | StoreError::Unavailable { .. })
            | Self::Index(IndexError::Full { .. } | IndexError::Unavailable { .. })
            | Self::Blob(BlobError::Full { .. } | BlobError::Unavailable { .. }) => true,
            Self::Gone { .. }
            | Self::TooMany
            | Self::Store(_)
            | Self::Index(_)
            | Self::Blob(_)
            | Self::Manifest(_) => false,
        }
    }
}

/// Rows in the making.
struct Rows {
    writer: ManifestWriter,
    /// Collection and source of the rows that are there.
    known: BTreeSet<(CollectionId, String)>,
    sizes: Vec<u64>,
    /// Sources that do not match the filter of their collection.
    left_out: u64,
    /// Whether rows whose documents exist are skipped.
    dedup: bool,
    skipped: SkippedRows,
}

impl Rows {
    /// Whether a source with these fields becomes a row of the collection; counts those that do not.
    fn takes(
        &mut self,
        collection: &CollectionRecord,
        fields: impl FnOnce() -> Map<String, Value>,
    ) -> bool {
        let filter = collection.source_filter.as_ref();
        let is_taken = filter.is_none_or(|filter| filter.matches(&fields()));
        self.left_out += u64::from(!is_taken);
        is_taken
    }

    fn is_new(&mut self, row: &ManifestRow) -> bool {
        self.known
            .insert((row.collection_id.clone(), row.source_id.clone()))
    }

    /// Adds a row; returns its number.
    fn push(&mut self, mut row: ManifestRow) -> Result<RowNumber, RowsError> {
        row.row =
            RowNumber::try_from(self.writer.rows()).map_err(|_overflow| RowsError::TooMany)?;
        self.sizes.push(row.size_bytes);
        self.writer.push(&row)?;
        Ok(row.row)
    }

    /// Adds those rows of a collection that are not there yet.
    async fn push_new(
        &mut self,
        shared: &Shared,
        batch: &Batch,
        collection: &CollectionId,
        mut page: Vec<ManifestRow>,
    ) -> Result<(), RowsError> {
        page.retain(|row| self.is_new(row));
        if !self.dedup {
            return page
                .into_iter()
                .try_for_each(|row| self.push(row).map(drop));
        }
        let existing = existing(shared, batch, collection, &page).await?;
        for row in page {
            let is_skipped = existing.contains(&first_document(&row));
            let tally = self.skipped.tally.entry(collection.clone()).or_default();
            tally.count(&row.source_id, is_skipped);
            let number = self.push(row)?;
            if is_skipped {
                self.skipped.rows.push(number);
            }
        }
        Ok(())
    }
}

/// What is made of a row has parts, numbered from zero.
fn first_document(row: &ManifestRow) -> DocumentId {
    DocumentId::of_part(&row.collection_id, &row.source_id, 0)
}

/// The first documents of rows that exist in the collection, whichever batch made them.
async fn existing(
    shared: &Shared,
    batch: &Batch,
    collection: &CollectionId,
    rows: &[ManifestRow],
) -> Result<BTreeSet<DocumentId>, RowsError> {
    let wanted: Vec<DocumentId> = rows.iter().map(first_document).collect();
    let found = shared
        .ports
        .index
        .get(&batch.namespace_id, collection, &wanted, false)
        .await?;
    Ok(found.into_iter().map(|document| document.id).collect())
}

/// Writes the job's manifest, which begins with the one that it had. Also tells which new rows are not to be done.
pub(crate) async fn build(
    shared: &Shared,
    batch: &Batch,
    job_id: &JobId,
) -> Result<(ManifestRef, SkippedRows), RowsError> {
    let gone = || RowsError::Gone {
        kind: "job",
        id: job_id.to_string(),
    };
    let (_, job) = batch.job(job_id).ok_or_else(gone)?;
    let mut rows = Rows {
        writer: ManifestWriter::new()?,
        known: BTreeSet::new(),
        sizes: Vec::new(),
        left_out: 0,
        dedup: skips_existing(shared, batch).await?,
        skipped: SkippedRows::default(),
    };
    if let Some(old) = &job.manifest {
        let reader = ManifestReader::open(shared.ports.blobs.get(&old.key).await?)?;
        copy_all(&reader, &mut rows)?;
    }
    for collection in collections(shared, batch, job).await? {
        match &collection.source {
            CollectionSource::Bucket { .. } => {
                from_objects(shared, batch, &collection, &mut rows).await?;
            }
            CollectionSource::Collection { collection_ids } => {
                for source in collection_ids {
                    from_documents(shared, batch, &collection, source, &mut rows).await?;
                }
            }
        }
    }
    let count = rows.writer.rows();
    // A manifest that an attempt may be reading is never overwritten by one with other rows.
    let generation = job.generation;
    let key = format!(
        "manifests/{}/{}/{job_id}-g{generation}.parquet",
        batch.namespace_id, batch.id
    );
    shared
        .ports
        .blobs
        .put(&key, Bytes::from(rows.writer.finish()?))
        .await?;
    let manifest = ManifestRef {
        key,
        rows: count,
        sizes: RowSizes::of(rows.sizes),
        left_out: rows.left_out,
    };
    Ok((manifest, rows.skipped))
}

/// Whether the batch was asked not to make documents again.
async fn skips_existing(shared: &Shared, batch: &Batch) -> Result<bool, RowsError> {
    let found = shared.ports.store.get_batch(None, &batch.id).await?;
    Ok(found.is_some_and(|(record, _)| record.dedup_strategy == "skip"))
}

fn copy_all(reader: &ManifestReader, rows: &mut Rows) -> Result<(), RowsError> {
    let end = RowNumber::try_from(reader.rows()).map_err(|_overflow| RowsError::TooMany)?;
    let numbers: Vec<RowNumber> = (0..end).collect();
    for page in numbers.chunks(PAGE) {
        for row in reader.read(page)? {
            rows.is_new(&row);
            rows.push(row)?;
        }
    }
    Ok(())
}

async fn collections(
    shared: &Shared,
    batch: &Batch,
    job: &Job,
) -> Result<Vec<CollectionRecord>, RowsError> {
    let mut found = Vec::with_capacity(job.collection_ids.len());
    for id in &job.collection_ids {
        let namespace = Some(&batch.namespace_id);
        let collection = shared
            .ports
            .store
            .find::<CollectionRecord>(namespace, id.as_str())
            .await?;
        let gone = || RowsError::Gone {
            kind: "collection",
            id: id.to_string(),
        };
        found.push(collection.ok_or_else(gone)?);
    }
    Ok(found)
}

async fn from_objects(
    shared: &Shared,
    batch: &Batch,
    collection: &CollectionRecord,
    rows: &mut Rows,
) -> Result<(), RowsError> {
    let store = &shared.ports.store;
    for page in store.batch_objects(&batch.id).await?.chunks(PAGE) {
        let found = store
            .get_objects(&batch.namespace_id, &batch.bucket_id, page)
            .await?;
        let mut found: BTreeMap<_, _> = found
            .into_iter()
            .map(|object| (object.object_id.clone(), object))
            .collect();
        // An object that was deleted meanwhile still counts; its row fails for want of input.
        let mut sources: Vec<_> = page.iter().map(|id| (id, found.remove(id))).collect();
        sources.retain(|(_, object)| match object {
            Some(object) => rows.takes(collection, || object.searchable()),
            None => true,
        });
        let page = sources
            .into_iter()
            .map(|(id, object)| object_row(collection, id.as_str(), object))
            .collect();
        rows.push_new(shared, batch, &collection.collection_id, page)
            .await?;
    }
    Ok(())
}

fn object_row(
    collection: &CollectionRecord,
    id: &str,
    object: Option<ObjectRecord>,
) -> ManifestRow {
    let (fields, blobs) = object.map_or_else(Default::default, |o| (o.fields, o.blobs));
    let blobs: Vec<ManifestBlob> = blobs
        .into_iter()
        .map(|blob| ManifestBlob {
            property: blob.property,
            blob_type: blob.blob_type,
            address: blob.address,
            value: blob.inline,
            filename: blob.filename,
            mime_type: blob.mime_type,
            size_bytes: blob.size_bytes,
        })
        .collect();
    ManifestRow {
        row: 0,
        collection_id: collection.collection_id.clone(),
        source_kind: SourceKind::Object,
        source_id: id.to_owned(),
        root_object_id: id.to_owned(),
        source_collection_id: None,
        size_bytes: blobs.iter().filter_map(|blob| blob.size_bytes).sum(),
        fields,
        blobs,
    }
}

async fn from_documents(
    shared: &Shared,
    batch: &Batch,
    collection: &CollectionRecord,
    source: &CollectionId,
    rows: &mut Rows,
) -> Result<(), RowsError> {
    let mut query = DocumentQuery {
        limit: PAGE,
        internal_eq: BTreeMap::from([("batch_id".to_owned(), batch.id.to_string())]),
        ..DocumentQuery::default()
    };
    loop {
        let page = shared
            .ports
            .index
            .list(&batch.namespace_id, source, &query)
            .await?;
        let documents = page.documents.into_iter();
        let mut page_rows: Vec<ManifestRow> = documents
            .map(|document| document_row(collection, source, document))
            .collect();
        page_rows.retain(|row| rows.takes(collection, || row.fields.clone()));
        rows.push_new(shared, batch, &collection.collection_id, page_rows)
            .await?;
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(());
        }
    }
}

fn document_row(
    collection: &CollectionRecord,
    source: &CollectionId,
    document: Document,
) -> ManifestRow {
    let mut fields = document.payload;
    let internal = fields.remove("_internal").unwrap_or_default();
    let root = internal
        .pointer("/lineage/root_object_id")
        .and_then(|id| id.as_str());
    let size_bytes = fields
        .values()
        .filter_map(|value| value.as_str())
        .map(str::len)
        .sum::<usize>();
    ManifestRow {
        row: 0,
        collection_id: collection.collection_id.clone(),
        source_kind: SourceKind::Document,
        source_id: document.id.to_string(),
        root_object_id: root.unwrap_or_default().to_owned(),
        source_collection_id: Some(source.clone()),
        size_bytes: size_bytes as u64,
        fields,
        blobs: Vec::new(),
    }
}
