//! Payloads, ids and references.

use fettle_model::attempt::FieldCopy;

use super::*;
use crate::extract::NamedVector;

fn row(kind: SourceKind) -> ManifestRow {
    ManifestRow {
        row: 3,
        collection_id: "col_a".parse().unwrap(),
        source_kind: kind,
        source_id: "doc_s".into(),
        root_object_id: "obj_r".into(),
        source_collection_id: Some("col_s".parse().unwrap()),
        size_bytes: 9,
        fields: json!({"title": "T", "nested": {"x": 1}, "text": "source"})
            .as_object()
            .unwrap()
            .clone(),
        blobs: vec![],
    }
}

fn copy(source: &str, target: &str, default: Option<Value>, required: bool) -> FieldCopy {
    FieldCopy {
        source_path: source.into(),
        target_path: target.into(),
        default,
        required,
    }
}

fn composer(field_passthrough: Vec<FieldCopy>, include_all_source_fields: bool) -> Composer {
    let collection_id: CollectionId = "col_a".parse().unwrap();
    let target = TargetCollection {
        collection_id: collection_id.clone(),
        collection_name: "a".into(),
        input_mappings: Map::new(),
        field_passthrough,
        include_all_source_fields,
    };
    Composer {
        namespace_id: "ns_n".parse().unwrap(),
        batch_id: "btch_b".parse().unwrap(),
        job_id: "job_j".parse().unwrap(),
        targets: BTreeMap::from([(collection_id, target)]),
    }
}

fn part(index: u32, fields: Value) -> Part {
    Part {
        index,
        fields: fields.as_object().unwrap().clone(),
        vectors: vec![],
        artifacts: vec![],
    }
}

#[test]
fn extracted_fields_win_over_all_source_fields_and_chosen_ones_win_over_both() {
    let copies = vec![
        copy("nested.x", "meta.x", None, true),
        copy("title", "text", None, false),
        copy("gone", "d", Some(json!(7)), true),
    ];
    let composed = composer(copies, true)
        .compose(
            &row(SourceKind::Object),
            &Facts::default(),
            vec![part(0, json!({"title": "E"}))],
            UnixMillis(0),
        )
        .unwrap();
    let payload = &composed.documents[0].payload;
    assert_eq!(
        (&payload["title"], &payload["text"], &payload["d"]),
        (&json!("E"), &json!("T"), &json!(7))
    );
    assert_eq!(payload["meta"]["x"], 1);
}

#[test]
fn a_required_field_that_is_missing_fails_the_row_by_name() {
    let copies = vec![copy("gone", "d", None, true)];
    let error = composer(copies, false)
        .compose(
            &row(SourceKind::Object),
            &Facts::default(),
            vec![],
            UnixMillis(0),
        )
        .unwrap_err();
    assert!(error.message.contains("`gone`"));
}

#[test]
fn internal_tells_where_a_document_comes_from() {
    let facts = Facts {
        content_hash: "h".into(),
        mime_type: Some("image/png".into()),
        size_bytes: 5,
    };
    let composed = composer(vec![], false)
        .compose(
            &row(SourceKind::Document),
            &facts,
            vec![part(2, json!({}))],
            UnixMillis(0),
        )
        .unwrap();
    let document = &composed.documents[0];
    let internal = &document.payload["_internal"];
    assert_eq!(internal["document_id"], document.id.as_str());
    assert_eq!(
        internal["lineage"],
        json!({"source_type": "collection", "root_object_id": "obj_r", "source_collection_id": "col_s", "source_document_id": "doc_s"})
    );
    assert_eq!(
        (
            &internal["modality"],
            &internal["part"],
            &internal["batch_id"]
        ),
        (&json!("image"), &json!(2), &json!("btch_b"))
    );
    assert_eq!(internal["created_at"], "1970-01-01T00:00:00Z");
}

#[test]
fn ids_depend_on_collection_source_and_part_alone() {
    let collection: CollectionId = "col_a".parse().unwrap();
    let id = DocumentId::of_part(&collection, "obj_1", 0);
    assert_eq!(id, DocumentId::of_part(&collection, "obj_1", 0));
    let others = [
        DocumentId::of_part(&collection, "obj_1", 1),
        DocumentId::of_part(&collection, "obj_", 10),
        DocumentId::of_part(&"col_b".parse().unwrap(), "obj_1", 0),
    ];
    assert!(others.iter().all(|other| *other != id));
}

#[test]
fn artifacts_are_referenced_and_vectors_encoded() {
    let mut thumb = part(0, json!({}));
    thumb.artifacts.push(Artifact {
        field: "thumbnail".into(),
        mime_type: "image/jpeg".into(),
        bytes: Bytes::from_static(b"xyz"),
    });
    thumb.vectors.push(NamedVector {
        name: "v".into(),
        values: vec![1.0],
    });
    let composed = composer(vec![], false)
        .compose(
            &row(SourceKind::Object),
            &Facts::default(),
            vec![thumb],
            UnixMillis(0),
        )
        .unwrap();
    let document = &composed.documents[0];
    let reference = &document.payload["_internal"]["document_blobs"][0];
    assert_eq!(
        reference["url"],
        format!("blob:{}", composed.artifacts[0].key)
    );
    assert_eq!(
        (&reference["role"], &reference["size_bytes"]),
        (&json!("thumbnail"), &json!(3))
    );
    assert!(composed.artifacts[0].key.ends_with("/thumbnail.jpeg"));
    assert_eq!(document.vectors[0].decode(), Some(vec![1.0]));
}
