//! What the tests of the document index share.

use std::path::Path;

use fettle_index::{EdgeIndex, Limits};
use fettle_model::{CollectionId, DocumentId, NamespaceId};
use fettle_ports::{Document, NamedVector, VectorSpec};
use serde_json::{Value, json};

/// Limits for tests: the disk of a test machine may be small.
pub(crate) fn limits() -> Limits {
    Limits {
        disk_reserve_bytes: 1024 * 1024,
        ..Limits::default()
    }
}

pub(crate) fn open(root: &Path) -> EdgeIndex {
    EdgeIndex::open_with(root, limits()).unwrap()
}

pub(crate) fn namespace() -> NamespaceId {
    "ns_test".parse().unwrap()
}

pub(crate) fn collection(name: &str) -> CollectionId {
    format!("col_{name}").parse().unwrap()
}

pub(crate) fn id(text: impl std::fmt::Display) -> DocumentId {
    format!("doc_{text}").parse().unwrap()
}

pub(crate) fn spec(name: &str, dimensions: u32) -> VectorSpec {
    VectorSpec {
        name: name.to_owned(),
        dimensions,
    }
}

pub(crate) fn vector(name: &str, values: &[f32]) -> NamedVector {
    NamedVector {
        name: name.to_owned(),
        values: values.to_vec(),
    }
}

/// A document with a payload and no vectors.
pub(crate) fn document(name: impl std::fmt::Display, payload: Value) -> Document {
    Document {
        id: id(name),
        payload: payload.as_object().unwrap().clone(),
        vectors: Vec::new(),
    }
}

/// A vector of unit length that differs for every seed.
pub(crate) fn unit_vector(seed: u64, dimensions: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut values: Vec<f32> = (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        })
        .collect();
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    values.iter_mut().for_each(|v| *v /= length);
    values
}

/// A document as a worker would write it.
pub(crate) fn typical(number: u64, dimensions: usize) -> Document {
    let text = format!("paragraph {number} says something of a usual length. ").repeat(8);
    let mut document = document(
        number,
        json!({
            "text": text, "number": number,
            "_internal": {"batch_id": format!("btch_{}", number % 3), "job_id": "job_1", "source_id": format!("obj_{number}")},
        }),
    );
    if dimensions > 0 {
        document.vectors = vec![vector("text", &unit_vector(number, dimensions))];
    }
    document
}
