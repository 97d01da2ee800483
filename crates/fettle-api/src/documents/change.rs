//! Documents that clients write: create, replace, change single fields.
//!
//! Owns what of a document is a client's: its fields and vectors. `_internal` is the server's.

use axum::Json;
use axum::extract::State;
use fettle_model::DocumentId;
use fettle_ports::{CollectionRecord, Document, NamedVector};
use fettle_wire::document::DocumentResponse;
use fettle_wire::document_change::CreateDocumentRequest;
use fettle_wire::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{Vectors, document, view};
use crate::body::{Body, InPath, Open};
use crate::collections::vectors_of;
use crate::error::ApiError;
use crate::lookup::collection;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// A document's fields, as JSON: it is read whole with every list.
const FIELDS_BYTES_MAX: usize = 256 * 1024;
/// Keys of the contract that belong to features that Fettle does not have, or that the server keeps itself.
const REFUSED: [&str; 12] = [
    "features",
    "lineage_chain",
    "lineage_path",
    "root_bucket_id",
    "document_schema_version",
    "source_type",
    "document_id",
    "collection_id",
    "document_blobs",
    "score",
    "vectors",
    "searchable_at",
];

pub(super) async fn create(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Open(body): Open<CreateDocumentRequest>,
) -> Result<Json<DocumentResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let is_other =
        |id: &String| *id != record.collection_id.as_str() && *id != record.collection_name;
    if body.collection_id.as_ref().is_some_and(is_other) {
        let message = "names another collection than the path";
        return Err(ApiError::invalid(&["collection_id"], message));
    }
    let mut fields = own(body.fields.clone())?;
    fields.extend(
        body.metadata
            .clone()
            .map(|it| ("metadata".to_owned(), it.into())),
    );
    let id = DocumentId::from_entropy(state.id_bits());
    let now = Timestamp(state.now()).to_string();
    let source_type = source_type(&body)?;
    let internal = json!({
        "document_id": id,
        "collection_id": record.collection_id,
        "namespace_id": record.namespace_id,
        "source_id": body.source_document_id.as_ref().or(body.source_object_id.as_ref()),
        "content_hash": body.content_hash,
        "created_at": now,
        "updated_at": now,
        "lineage": {
            "source_type": source_type,
            "root_object_id": body.root_object_id.as_ref().or(body.source_object_id.as_ref()),
            "root_bucket_id": body.root_bucket_id,
            "path": body.lineage_path,
            "chain": body.lineage_chain,
            "source_object_id": body.source_object_id,
            "source_collection_id": body.source_collection_id,
            "source_document_id": body.source_document_id,
        },
    });
    let mut payload = fields;
    payload.insert("_internal".to_owned(), internal);
    let vectors = body.vectors.unwrap_or_default().into_iter();
    let document = Document {
        id,
        payload,
        vectors: vectors
            .map(|(name, values)| NamedVector { name, values })
            .collect(),
    };
    write(&state, &record, document, "document.created").await
}

/// What the document was made of, as its client says or as its ids tell.
fn source_type(body: &CreateDocumentRequest) -> Result<&str, ApiError> {
    match body.source_type.as_deref() {
        Some(told @ ("bucket" | "collection" | "direct_upsert" | "signal")) => Ok(told),
        Some(_) => {
            let message = "is none of `bucket`, `collection`, `direct_upsert` and `signal`";
            Err(ApiError::invalid(&["source_type"], message))
        }
        None if body.source_document_id.is_some() => Ok("collection"),
        None => Ok("direct_upsert"),
    }
}

pub(super) async fn patch(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<DocumentResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let mut found = document(&state, &record, &id, true).await?;
    for (key, value) in own(body)? {
        if value.is_null() {
            found.payload.remove(&key);
        } else {
            found.payload.insert(key, value);
        }
    }
    changed(&state, &record, found).await
}

pub(super) async fn put(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath((name, id)): InPath<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Json<DocumentResponse>, ApiError> {
    let record = collection(&state, &tenant.namespace_id, &name).await?;
    let mut found = document(&state, &record, &id, true).await?;
    let internal = found.payload.remove("_internal").unwrap_or_default();
    found.payload = own(body)?;
    found.payload.retain(|_, value| !value.is_null());
    found.payload.insert("_internal".to_owned(), internal);
    changed(&state, &record, found).await
}

/// The fields of a client, none of which is the server's.
fn own(mut fields: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let is_empty = |value: &Value| value.is_null() || *value == json!([]);
    // The published client sends some of them empty.
    fields.retain(|key, value| !(REFUSED.contains(&key.as_str()) && is_empty(value)));
    let taken = fields
        .keys()
        .find(|key| REFUSED.contains(&key.as_str()) || key.starts_with('_'));
    if let Some(key) = taken {
        let message = "is not a field of its own: the server keeps it, or Fettle does not have it";
        return Err(ApiError::invalid(&[key], message));
    }
    let size = Value::Object(fields.clone()).to_string().len();
    if size > FIELDS_BYTES_MAX {
        let message =
            format!("the fields have {size} bytes as JSON; at most {FIELDS_BYTES_MAX} are allowed");
        return Err(ApiError::invalid(&[], message));
    }
    Ok(fields)
}

async fn changed(
    state: &ApiState,
    record: &CollectionRecord,
    mut document: Document,
) -> Result<Json<DocumentResponse>, ApiError> {
    let now = Timestamp(state.now()).to_string();
    if let Some(Value::Object(internal)) = document.payload.get_mut("_internal") {
        internal.insert("updated_at".to_owned(), Value::from(now));
    }
    write(state, record, document, "document.updated").await
}

async fn write(
    state: &ApiState,
    record: &CollectionRecord,
    document: Document,
    event_type: &str,
) -> Result<Json<DocumentResponse>, ApiError> {
    let index = state.control().index();
    let (namespace, id) = (&record.namespace_id, &record.collection_id);
    index
        .ensure(namespace, id, &vectors_of(state, record).await?)
        .await?;
    index.upsert(namespace, id, vec![document.clone()]).await?;
    tell(state, record, &document.id, event_type).await?;
    Ok(Json(view(record, document, &Vectors::None)))
}

/// Tells webhooks of a document that a client changed; the store sees no documents.
pub(super) async fn tell(
    state: &ApiState,
    record: &CollectionRecord,
    id: &DocumentId,
    event_type: &str,
) -> Result<(), ApiError> {
    let about = [
        ("collection_id".to_owned(), json!(record.collection_id)),
        ("document_id".to_owned(), json!(id)),
    ];
    let store = state.control().store();
    let appended = store
        .append_event(
            &record.namespace_id,
            event_type,
            state.now(),
            about.into_iter().collect(),
        )
        .await;
    appended.map_err(ApiError::from)
}
