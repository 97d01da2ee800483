//! What a report's documents take the place of.
//!
//! Owns the law that a source which is processed again keeps no documents of its earlier content: those with the same
//! part number are written over, and those beyond the last new part are removed with what later collections made of them.

use std::collections::{BTreeMap, BTreeSet};

use fettle_model::{BatchId, CollectionId, DocumentId, NamespaceId};
use fettle_ports::{CollectionRecord, Document, DocumentQuery, Index, IndexError, StoreExt as _};
use serde_json::Value;

use crate::control::Control;
use crate::error::ReportError;

/// Parts beyond the last new one that are looked for at a time, where a source has documents already.
const PARTS_LOOKED_FOR: u32 = 4;

/// Documents made of a removed one that are read at a time.
const MADE_PAGE: usize = 500;

/// What a report's rows have become in one collection.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) documents: Vec<Document>,
    /// Sources of which no document was made.
    pub(crate) without: Vec<String>,
}

/// How many documents a report replaced and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) replaced: u64,
    pub(crate) deleted: u64,
}

/// Writes a collection's documents in place of what their sources had become before.
pub(crate) async fn write(
    control: &Control,
    namespace: &NamespaceId,
    batch: &BatchId,
    collection: &CollectionId,
    made: Made,
) -> Result<Replaced, ReportError> {
    let index = control.index().as_ref();
    let new: BTreeSet<DocumentId> = made.documents.iter().map(|d| d.id.clone()).collect();
    let mut sources = sources(&made);
    // Most sources are new, and then so is what would stand beyond them: one part more is looked for.
    let next = sources.iter();
    let next = next.map(|(source, part)| DocumentId::of_part(collection, source, *part));
    let wanted: Vec<DocumentId> = new.iter().cloned().chain(next).collect();
    let found = index.get(namespace, collection, &wanted, false).await?;
    let is_own = |document: &Document| internal(document, "batch_id") == Some(batch.as_str());
    let replaced = found
        .iter()
        .filter(|it| new.contains(&it.id) && !is_own(it));
    let replaced = replaced.count() as u64;
    let known = known(&found);
    sources.retain(|source, _| known.contains(source));
    let gone = beyond(index, namespace, collection, sources).await?;
    if !made.documents.is_empty() {
        index.upsert(namespace, collection, made.documents).await?;
    }
    let deleted = delete_with_descendants(control, namespace, collection, gone).await?;
    Ok(Replaced { replaced, deleted })
}

/// Deletes documents, and those that later collections made of them; returns how many there were.
async fn delete_with_descendants(
    control: &Control,
    namespace: &NamespaceId,
    collection: &CollectionId,
    gone: Vec<DocumentId>,
) -> Result<u64, ReportError> {
    if gone.is_empty() {
        return Ok(0);
    }
    let index = control.index();
    let collections: Vec<CollectionRecord> = control.store().list_all(namespace).await?;
    let mut deleted = 0;
    let mut open = vec![(collection.clone(), gone)];
    while let Some((id, documents)) = open.pop() {
        for reader in collections.iter().filter(|record| record.reads(&id)) {
            let reader = &reader.collection_id;
            let mut made = Vec::new();
            for document in &documents {
                made.extend(made_of(index.as_ref(), namespace, reader, document).await?);
            }
            if !made.is_empty() {
                open.push((reader.clone(), made));
            }
        }
        deleted += index.delete(namespace, &id, &documents).await?;
    }
    Ok(deleted)
}

/// The documents that a collection made of a document.
async fn made_of(
    index: &dyn Index,
    namespace: &NamespaceId,
    collection: &CollectionId,
    source: &DocumentId,
) -> Result<Vec<DocumentId>, IndexError> {
    let mut query = DocumentQuery {
        limit: MADE_PAGE,
        internal_eq: BTreeMap::from([("source_id".to_owned(), source.to_string())]),
        ..DocumentQuery::default()
    };
    let mut made = Vec::new();
    loop {
        let page = match index.list(namespace, collection, &query).await {
            Err(IndexError::NoCollection { .. }) => return Ok(made),
            other => other?,
        };
        made.extend(page.documents.into_iter().map(|document| document.id));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(made);
        }
    }
}

/// The first part number that each source does not use any more.
fn sources(made: &Made) -> BTreeMap<String, u32> {
    let without = made.without.iter().map(|source| (source.clone(), 0));
    let mut next: BTreeMap<String, u32> = without.collect();
    for document in &made.documents {
        let part = document
            .payload
            .get("_internal")
            .and_then(|it| it.get("part"));
        let part = part
            .and_then(Value::as_u64)
            .and_then(|part| u32::try_from(part).ok());
        if let Some((source, part)) = internal(document, "source_id").zip(part) {
            let known = next.entry(source.to_owned()).or_insert(0);
            *known = part.saturating_add(1).max(*known);
        }
    }
    next
}

/// The sources of documents.
fn known(documents: &[Document]) -> BTreeSet<String> {
    let sources = documents.iter().filter_map(|it| internal(it, "source_id"));
    sources.map(str::to_owned).collect()
}

/// The documents that sources have from these part numbers on.
async fn beyond(
    index: &dyn Index,
    namespace: &NamespaceId,
    collection: &CollectionId,
    mut open: BTreeMap<String, u32>,
) -> Result<Vec<DocumentId>, IndexError> {
    let mut found = Vec::new();
    while !open.is_empty() {
        let wanted = open.iter().flat_map(|(source, first)| {
            let parts = *first..first.saturating_add(PARTS_LOOKED_FOR);
            parts.map(|part| DocumentId::of_part(collection, source, part))
        });
        let wanted: Vec<DocumentId> = wanted.collect();
        let page = index.get(namespace, collection, &wanted, false).await?;
        let more = known(&page);
        open.retain(|source, first| {
            *first = first.saturating_add(PARTS_LOOKED_FOR);
            more.contains(source)
        });
        found.extend(page.into_iter().map(|document| document.id));
    }
    Ok(found)
}

fn internal<'a>(document: &'a Document, key: &str) -> Option<&'a str> {
    document.payload.get("_internal")?.get(key)?.as_str()
}
