//! Removal of the documents that a batch made.

use std::collections::{BTreeMap, BTreeSet};

use fettle_core::Batch;
use fettle_model::{BatchId, CollectionId, DocumentId, NamespaceId};
use fettle_ports::{DocumentQuery, IndexError};

use crate::control::Control;
use crate::error::RequestError;

/// Documents that are removed at a time: a page is one durable write, and a retry that comes between is seen after it.
const PAGE: usize = 500;
const WHAT: &str = "deleting the batch's documents";

impl Control {
    /// Removes the documents that the batch wrote and no later batch has replaced; tells how many of each collection.
    pub async fn delete_batch_documents(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
    ) -> Result<BTreeMap<CollectionId, u64>, RequestError> {
        let (_, state) = self.own(namespace, id).await?;
        let batch = state.ok_or_else(|| RequestError::NotPossible {
            what: WHAT,
            present: "the batch is DRAFT; it has made none".to_owned(),
        })?;
        must_rest(&batch)?;
        let collections: BTreeSet<&CollectionId> = batch
            .jobs()
            .flat_map(|(_, job)| &job.collection_ids)
            .collect();
        let mut deleted = BTreeMap::new();
        let mut outcome = Ok(());
        for collection in collections {
            let count = deleted.entry(collection.clone()).or_insert(0);
            outcome = self.delete_of(namespace, id, collection, count).await;
            if outcome.is_err() {
                break;
            }
        }
        // What is gone is told also where something stopped it.
        let (mut record, _) = self.own(namespace, id).await?;
        record.documents_deleted += deleted.values().sum::<u64>();
        record.updated_at = self.clock().now();
        self.store().update_batch(&record).await?;
        outcome.map(|()| deleted)
    }

    async fn delete_of(
        &self,
        namespace: &NamespaceId,
        id: &BatchId,
        collection: &CollectionId,
        deleted: &mut u64,
    ) -> Result<(), RequestError> {
        let mut query = DocumentQuery {
            limit: PAGE,
            internal_eq: BTreeMap::from([("batch_id".to_owned(), id.to_string())]),
            ..DocumentQuery::default()
        };
        loop {
            if let Some(batch) = self.shared.batch(id) {
                must_rest(&batch)?;
            }
            let page = match self.index().list(namespace, collection, &query).await {
                Ok(page) => page,
                // The collection was deleted, and its documents with it.
                Err(IndexError::NoCollection { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let ids: Vec<DocumentId> = page.documents.into_iter().map(|it| it.id).collect();
            *deleted += self.index().delete(namespace, collection, &ids).await?;
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                return Ok(());
            }
        }
    }
}

fn must_rest(batch: &Batch) -> Result<(), RequestError> {
    if batch.is_at_rest() {
        return Ok(());
    }
    let status = batch.status.as_str();
    Err(RequestError::NotPossible {
        what: WHAT,
        present: format!("the batch is {status}; wait for its end or cancel it first"),
    })
}
