//! Where a document comes from, what was made of it, and what happened to it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fettle_model::BatchId;
use fettle_ports::{CollectionRecord, Document, DocumentQuery, RowErrorQuery};
use fettle_wire::document::DocumentResponse;
use fettle_wire::document_change::{
    DiagnosticHistory, DiagnosticHistoryEntry, DocumentDiagnosticsResponse, RecentFailure,
    RecentFailures, VisibilityReason,
};
use serde_json::{Value, json};

use super::{Vectors, document, page, view};
use crate::body::InPath;
use crate::error::ApiError;
use crate::lookup::{all, collection};
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Collections in a row: deeper chains are a mistake, or a ring that a client wrote.
const DEPTH_MAX: usize = 32;
/// Descendants of one answer: they are held in memory.
const DESCENDANTS_MAX: usize = 1000;
/// Errors of a batch that are looked through for those of one source.
const ERRORS_MAX: u64 = 1000;

fn internal<'d>(document: &'d Document, pointer: &str) -> Option<&'d str> {
    document
        .payload
        .get("_internal")?
        .pointer(pointer)?
        .as_str()
}

pub(super) async fn ancestors(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<Json<Vec<DocumentResponse>>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let mut at = document(&state, &record, &id, false).await?;
    let mut found = Vec::new();
    while found.len() < DEPTH_MAX {
        let source = internal(&at, "/lineage/source_collection_id")
            .zip(internal(&at, "/lineage/source_document_id"));
        let Some((collection_id, document_id)) = source else {
            break;
        };
        // What was deleted since ends the chain.
        let Ok(record) = collection(&state, &tenant.namespace_id, collection_id).await else {
            break;
        };
        let Ok(next) = document(&state, &record, document_id, false).await else {
            break;
        };
        found.push(view(&record, next.clone(), &Vectors::None));
        at = next;
    }
    Ok(Json(found))
}

pub(super) async fn descendants(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<Json<Vec<DocumentResponse>>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let first = document(&state, &record, &id, false).await?;
    let collections: Vec<CollectionRecord> = all(&state, &tenant.namespace_id).await?;
    let mut found = Vec::new();
    let mut level = vec![(record, first)];
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for (parent, document) in &level {
            for child in collections
                .iter()
                .filter(|child| child.reads(&parent.collection_id))
            {
                next.extend(made_of(&state, child, document).await?);
            }
        }
        found.extend(
            next.iter()
                .map(|(record, document)| view(record, document.clone(), &Vectors::None)),
        );
        if found.len() > DESCENDANTS_MAX {
            let present = format!(
                "it has more than {DESCENDANTS_MAX} descendants; list the documents of its collections by `_internal.lineage`"
            );
            return Err(ApiError::conflict("listing all descendants", present));
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    Ok(Json(found))
}

async fn made_of(
    state: &ApiState,
    child: &CollectionRecord,
    parent: &Document,
) -> Result<Vec<(CollectionRecord, Document)>, ApiError> {
    let query = DocumentQuery {
        limit: DESCENDANTS_MAX + 1,
        internal_eq: BTreeMap::from([("source_id".to_owned(), parent.id.to_string())]),
        ..DocumentQuery::default()
    };
    let documents = page(state, child, &query).await?.documents.into_iter();
    Ok(documents
        .map(|document| (child.clone(), document))
        .collect())
}

pub(super) async fn diagnostics(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<Json<DocumentDiagnosticsResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let found = document(&state, &record, &id, true).await?;
    let root = internal(&found, "/lineage/root_object_id").map(str::to_owned);
    let names: Vec<&str> = found
        .vectors
        .iter()
        .map(|vector| vector.name.as_str())
        .collect();
    let reason = if names.is_empty() {
        "it has no vector, so only filters and lists find it".to_owned()
    } else {
        format!("it is found by its vectors: {}", names.join(", "))
    };
    Ok(Json(DocumentDiagnosticsResponse {
        collection_id: record.collection_id.to_string(),
        document_id: found.id.to_string(),
        visibility_reason: VisibilityReason {
            reason,
            searchable: !names.is_empty(),
            source_object_id: root.clone(),
        },
        source_object_id: root,
        diagnostic_history: history(&found),
        recent_failures: failures(&state, &tenant, &record, &found).await?,
    }))
}

fn history(document: &Document) -> DiagnosticHistory {
    let text = |pointer: &str| internal(document, pointer).map(str::to_owned);
    let (created, updated) = (text("/created_at"), text("/updated_at"));
    let batch = text("/batch_id");
    let detail = json!({"event": "written", "batch_id": batch, "job_id": text("/job_id")});
    let source = if batch.is_some() { "batch" } else { "client" };
    let entry = |source: &str, timestamp: Option<String>, detail: Value| DiagnosticHistoryEntry {
        source: source.to_owned(),
        timestamp,
        detail: detail.as_object().cloned().unwrap_or_default(),
    };
    let mut entries = vec![entry(source, created.clone(), detail)];
    if updated != created {
        entries.push(entry("client", updated, json!({"event": "changed"})));
    }
    DiagnosticHistory {
        entries,
        reason: None,
    }
}

async fn failures(
    state: &ApiState,
    tenant: &Tenant,
    record: &CollectionRecord,
    document: &Document,
) -> Result<RecentFailures, ApiError> {
    let batch: Option<BatchId> = internal(document, "/batch_id").and_then(|id| id.parse().ok());
    let store = state.control().store();
    let is_there = match &batch {
        Some(batch) => store
            .get_batch(Some(&tenant.namespace_id), batch)
            .await?
            .is_some(),
        None => false,
    };
    let Some(batch) = batch.filter(|_| is_there) else {
        return Ok(RecentFailures {
            failures: Vec::new(),
            reason: Some("no batch that is still there wrote this document".to_owned()),
        });
    };
    let query = RowErrorQuery {
        collection_id: Some(record.collection_id.clone()),
        limit: ERRORS_MAX,
        ..RowErrorQuery::default()
    };
    let (errors, _) = store.row_errors(&batch, &query).await?;
    let source = internal(document, "/source_id").unwrap_or_default();
    let own = errors
        .into_iter()
        .filter(|stored| stored.error.source_id == source);
    let failure = |stored: fettle_ports::StoredRowError| RecentFailure {
        source: batch.to_string(),
        error: Some(stored.error.message),
        object_id: Some(stored.error.source_id),
        status: Some("FAILED".to_owned()),
    };
    Ok(RecentFailures {
        failures: own.map(failure).collect(),
        reason: None,
    })
}
