//! Documents as points and back.
//!
//! A point's id is a hash of the document's id, which itself is kept in the payload as `_internal.document_id`.

use std::collections::{BTreeMap, HashMap};

use fettle_model::DocumentId;
use fettle_ports::{Document, NamedVector};
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    Payload, PointId, PointStructPersisted, Record, VectorInternal, VectorPersisted,
    VectorStructInternal, VectorStructPersisted,
};
use serde_json::{Map, Value};

use crate::fault::Fault;

/// The payload's key of system fields.
pub(crate) const INTERNAL: &str = "_internal";
/// The key under it that holds the document's id.
const DOCUMENT_ID: &str = "document_id";
/// Vector names become file names, of which 255 bytes are allowed; the library adds its own words.
const VECTOR_KEY_LENGTH_MAX: usize = 160;

/// The point that a document is kept as. 128 bits of a cryptographic hash do not collide.
pub(crate) fn point_uuid(id: &DocumentId) -> Uuid {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&blake3::hash(id.as_str().as_bytes()).as_bytes()[..16]);
    Uuid::from_bytes(bytes)
}

/// The name under which the library keeps a vector: safe as part of a file name, and different for different names.
pub(crate) fn vector_key(name: &str) -> Result<String, Fault> {
    let mut key = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("%{byte:02x}"));
        }
    }
    if key.is_empty() || key.len() > VECTOR_KEY_LENGTH_MAX {
        return Err(Fault::BadVector {
            name: name.chars().take(80).collect(),
            message: format!("a name has 1 to {VECTOR_KEY_LENGTH_MAX} characters"),
        });
    }
    Ok(key)
}

/// The name that `vector_key` made `key` of.
pub(crate) fn vector_name(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| key_byte(tail)).flatten();
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn key_byte(tail: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

/// The point of a document. Vector names are checked for form only; whether they fit is checked where the shard is known.
pub(crate) fn to_point(document: Document) -> Result<PointStructPersisted, Fault> {
    let uuid = point_uuid(&document.id);
    let mut vectors = HashMap::with_capacity(document.vectors.len());
    for NamedVector { name, values } in document.vectors {
        check_values(&name, &values)?;
        vectors.insert(vector_key(&name)?, VectorPersisted::Dense(values));
    }
    let mut payload = document.payload;
    let internal = payload
        .entry(INTERNAL)
        .or_insert_with(|| Value::Object(Map::new()));
    if !internal.is_object() {
        *internal = Value::Object(Map::new());
    }
    if let Some(fields) = internal.as_object_mut() {
        fields.insert(DOCUMENT_ID.to_owned(), Value::String(document.id.into()));
    }
    Ok(PointStructPersisted {
        id: PointId::Uuid(uuid),
        vector: VectorStructPersisted::Named(vectors),
        payload: Some(Payload(payload)),
    })
}

/// Vectors with values that are no numbers can be neither compared nor told in JSON.
pub(crate) fn check_values(name: &str, values: &[f32]) -> Result<(), Fault> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Fault::BadVector {
        name: name.to_owned(),
        message: "all values must be finite numbers".to_owned(),
    })
}

/// Checks a point's vectors against those that its collection has, as lengths by key.
pub(crate) fn check_vectors(
    point: &PointStructPersisted,
    known: &BTreeMap<String, usize>,
) -> Result<(), Fault> {
    let VectorStructPersisted::Named(vectors) = &point.vector else {
        return Ok(());
    };
    vectors.iter().try_for_each(|(key, vector)| match vector {
        VectorPersisted::Dense(values) => check_length(key, values.len(), known),
        _ => Ok(()),
    })
}

/// Checks one vector's length.
pub(crate) fn check_length(
    key: &str,
    length: usize,
    known: &BTreeMap<String, usize>,
) -> Result<(), Fault> {
    let message = match known.get(key) {
        Some(wanted) if *wanted == length => return Ok(()),
        Some(wanted) => format!("it has {length} values, the collection's has {wanted}"),
        None if known.is_empty() => "the collection has no vectors".to_owned(),
        None => {
            let names: Vec<_> = known.keys().map(|key| vector_name(key)).collect();
            format!("the collection has {}", names.join(", "))
        }
    };
    Err(Fault::BadVector {
        name: vector_name(key),
        message,
    })
}

/// The document that a point holds.
pub(crate) fn to_document(record: Record) -> Result<Document, Fault> {
    let payload = record.payload.unwrap_or_default().0;
    let id = payload
        .get(INTERNAL)
        .and_then(|internal| internal.get(DOCUMENT_ID))
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Fault::Broken(format!("point {} holds no document id", record.id)))?;
    Ok(Document {
        id,
        payload,
        vectors: record.vector.map(to_vectors).unwrap_or_default(),
    })
}

fn to_vectors(vectors: VectorStructInternal) -> Vec<NamedVector> {
    let VectorStructInternal::Named(vectors) = vectors else {
        return Vec::new();
    };
    let mut named: Vec<_> = vectors
        .into_iter()
        .filter_map(|(key, vector)| match vector {
            VectorInternal::Dense(values) => Some(NamedVector {
                name: vector_name(&key),
                values,
            }),
            _ => None,
        })
        .collect();
    named.sort_by(|a, b| a.name.cmp(&b.name));
    named
}

/// About how many bytes a point takes, for bounding what is applied at once.
pub(crate) fn weight_bytes(point: &PointStructPersisted) -> u64 {
    let vectors = match &point.vector {
        VectorStructPersisted::Named(vectors) => vectors
            .values()
            .map(|vector| match vector {
                VectorPersisted::Dense(values) => values.len() as u64 * 4,
                _ => 0,
            })
            .sum(),
        _ => 0,
    };
    let payload = point.payload.as_ref().map_or(0, |p| map_bytes(&p.0));
    vectors + payload
}

fn map_bytes(fields: &Map<String, Value>) -> u64 {
    fields
        .iter()
        .map(|(key, value)| key.len() as u64 + 4 + value_bytes(value))
        .sum()
}

fn value_bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 20,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => items.iter().map(|item| value_bytes(item) + 1).sum::<u64>() + 2,
        Value::Object(fields) => map_bytes(fields) + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_name_survives_being_a_key() {
        for name in ["text", "acme/text@1.0", "größe", "a%2fb", "%", "%zz"] {
            let key = vector_key(name).unwrap();
            assert!(!key.contains('/'), "{key}");
            assert_eq!(vector_name(&key), name);
        }
        assert_ne!(vector_key("a/b"), vector_key("a%2fb"));
    }

    #[test]
    fn an_empty_or_endless_vector_name_is_refused() {
        assert!(vector_key("").is_err());
        assert!(vector_key(&"x".repeat(500)).is_err());
    }
}
