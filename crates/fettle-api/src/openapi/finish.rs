//! What the types of handlers cannot say: what stands in a path, who may call, tags and names of operations.
//!
//! Owns the document's frame. It must not describe a body; that is read off the types.

use aide::openapi::OpenApi;
use serde_json::{Map, Value, json};

/// What needs no key.
const KEYLESS: &str = "/v1/health";
/// What answers without a key and says more with one.
const KEY_OPTIONAL: &str = "/v1/collections/features/extractors";
/// The header that picks the namespace.
const NAMESPACE: &str = "X-Namespace";

/// Completes the generated document.
pub(super) fn finish(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": "Fettle",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Batches that can say what is wrong with them, and can be mended.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["components"]["securitySchemes"] =
        json!({"key": {"type": "http", "scheme": "bearer"}});
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                if let Some(operation) = operation.as_object_mut() {
                    complete(path, method, operation);
                }
            }
        }
    }
    document
}

fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    operation.insert("operationId".to_owned(), id(path, method).into());
    operation.insert("tags".to_owned(), json!([tag(path)]));
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.extend(names_in(path).map(path_parameter));
        if !path.starts_with(KEYLESS) {
            parameters.push(namespace_parameter());
            if method == "post" {
                parameters.push(idempotency_parameter());
            }
        }
    }
    let security = if path.starts_with(KEYLESS) {
        json!([])
    } else if path.starts_with(KEY_OPTIONAL) {
        json!([{}, {"key": []}])
    } else {
        json!([{"key": []}])
    };
    operation.insert("security".to_owned(), security);
}

/// `get_v1_batches_batch_id` for `GET /v1/batches/{batch_id}`.
fn id(path: &str, method: &str) -> String {
    let words = path
        .split('/')
        .map(|part| part.trim_matches(['{', '}']).replace('-', "_"))
        .filter(|part| !part.is_empty());
    let mut id = method.to_owned();
    for word in words {
        id.push('_');
        id.push_str(&word);
    }
    id
}

/// The resource that a path is about: its last part that stands before an id or an action of one.
fn tag(path: &str) -> String {
    let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    let named = ["batches", "objects", "uploads", "documents", "webhooks"];
    let nested = parts.iter().find(|part| named.contains(part));
    nested
        .or(parts.first())
        .map_or_else(String::new, |part| (*part).to_owned())
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Value {
    let schema = match name {
        "tier_num" => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        _ => json!({"type": "string", "minLength": 1}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn idempotency_parameter() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "A request that comes again under its key within a day is not done again; its answer is given again.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    })
}

fn namespace_parameter() -> Value {
    json!({
        "name": NAMESPACE,
        "in": "header",
        "required": false,
        "description": "Name or id of the namespace; without it the default one.",
        "schema": {"type": "string"},
    })
}
