//! Typed calls over the records of a store.
//!
//! Owns the way from a record to its JSON and back. It must not know a store.

use async_trait::async_trait;
use fettle_model::NamespaceId;
use serde_json::Value;

use crate::records::Resource;
use crate::store::{Page, Store, StoreError};

/// Records are read this many at a time where all are needed.
const LIST_ALL_PAGE: u64 = 500;

/// Typed calls over the untyped resources.
#[async_trait]
pub trait StoreExt: Store {
    /// Adds a record.
    async fn insert<R: Resource>(&self, record: &R) -> Result<(), StoreError> {
        let body = to_json(record)?;
        self.insert_resource(
            R::KIND,
            record.namespace_id(),
            record.id(),
            record.name(),
            body,
        )
        .await
    }

    /// Replaces a record.
    async fn update<R: Resource>(&self, record: &R) -> Result<(), StoreError> {
        let body = to_json(record)?;
        self.update_resource(
            R::KIND,
            record.namespace_id(),
            record.id(),
            record.name(),
            body,
        )
        .await
    }

    /// A record by id or name; without a namespace in any.
    async fn find<R: Resource>(
        &self,
        namespace: Option<&NamespaceId>,
        id_or_name: &str,
    ) -> Result<Option<R>, StoreError> {
        self.find_resource(R::KIND, namespace, id_or_name)
            .await?
            .map(|body| from_json::<R>(body))
            .transpose()
    }

    /// A page of records.
    async fn list<R: Resource>(
        &self,
        namespace: Option<&NamespaceId>,
        search: Option<&str>,
        page: Page,
    ) -> Result<(Vec<(i64, R)>, u64), StoreError> {
        let (rows, total) = self
            .list_resources(R::KIND, namespace, search, page)
            .await?;
        let records = rows
            .into_iter()
            .map(|(seq, body)| from_json::<R>(body).map(|record| (seq, record)))
            .collect::<Result<_, _>>()?;
        Ok((records, total))
    }

    /// All records of a namespace, newest first.
    async fn list_all<R: Resource>(&self, namespace: &NamespaceId) -> Result<Vec<R>, StoreError> {
        self.search_all(Some(namespace), None).await
    }

    /// All records that `search` finds, newest first; without a namespace of any.
    async fn search_all<R: Resource>(
        &self,
        namespace: Option<&NamespaceId>,
        search: Option<&str>,
    ) -> Result<Vec<R>, StoreError> {
        let mut records = Vec::new();
        let mut page = Page {
            limit: LIST_ALL_PAGE,
            ..Page::default()
        };
        loop {
            let (rows, _) = self.list::<R>(namespace, search, page).await?;
            let Some((last, _)) = rows.last() else {
                return Ok(records);
            };
            page.after = Some(*last);
            records.extend(rows.into_iter().map(|(_, record)| record));
        }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

fn to_json<R: Resource>(record: &R) -> Result<Value, StoreError> {
    serde_json::to_value(record).map_err(|error| StoreError::Corrupt {
        kind: R::KIND.as_str(),
        id: record.id().to_owned(),
        message: error.to_string(),
    })
}

fn from_json<R: Resource>(body: Value) -> Result<R, StoreError> {
    serde_json::from_value(body).map_err(|error| StoreError::Corrupt {
        kind: R::KIND.as_str(),
        id: String::new(),
        message: error.to_string(),
    })
}
