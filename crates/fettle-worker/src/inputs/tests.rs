//! Mappings of each form, and choices without mappings.

use fettle_manifest::SourceKind;
use serde_json::json;

use super::*;

fn row(fields: Value, blobs: Vec<ManifestBlob>) -> ManifestRow {
    ManifestRow {
        row: 0,
        collection_id: "col_a".parse().unwrap(),
        source_kind: SourceKind::Object,
        source_id: "obj_a".into(),
        root_object_id: "obj_a".into(),
        source_collection_id: None,
        size_bytes: 0,
        fields: fields.as_object().unwrap().clone(),
        blobs,
    }
}

fn blob(property: &str, blob_type: &str) -> ManifestBlob {
    ManifestBlob {
        property: property.into(),
        blob_type: blob_type.into(),
        address: Some("blob:k".into()),
        ..ManifestBlob::default()
    }
}

fn declared(key: &str, types: &[&str]) -> Declared {
    Declared {
        key: key.into(),
        required: true,
        types: types.iter().map(|kind| (*kind).to_owned()).collect(),
    }
}

fn plan(declared: Vec<Declared>, mappings: Value) -> InputPlan {
    InputPlan::new(declared, mappings.as_object().unwrap()).unwrap()
}

#[test]
fn mappings_find_fields_blobs_and_literals() {
    let row = row(
        json!({"a": {"b.c": 1, "list": [{"x": 2}]}, "photo": "text"}),
        vec![blob("photo", "image")],
    );
    let mappings = json!({
        "deep": "a.b.c",
        "item": "a.list.0.x",
        "either": "photo",
        "field": {"source_type": "payload", "path": "photo"},
        "blob": {"source_type": "blob", "path": "photo"},
        "literal": {"source_type": "literal", "override": [1]},
        "absent": "nowhere",
    });
    let picked = plan(vec![], mappings).pick(&row).unwrap();
    assert_eq!(picked["deep"], Picked::Value(json!(1)));
    assert_eq!(picked["item"], Picked::Value(json!(2)));
    assert_eq!(picked["either"], Picked::Blob(&row.blobs[0]));
    assert_eq!(picked["field"], Picked::Value(json!("text")));
    assert_eq!(picked["blob"], Picked::Blob(&row.blobs[0]));
    assert_eq!(picked["literal"], Picked::Value(json!([1])));
    assert!(!picked.contains_key("absent"));
}

#[test]
fn a_missing_required_input_says_which_and_what_there_is() {
    let text = declared("text", &["text", "string"]);
    let error = plan(vec![text.clone()], json!({"text": "titel"}))
        .pick(&row(json!({"title": "x"}), vec![]))
        .unwrap_err();
    assert!(
        error.message.contains("`titel`") && error.message.contains("[title]"),
        "{}",
        error.message
    );
    assert_eq!(
        (error.category, error.class),
        (ErrorCategory::Validation, DocumentErrorClass::Permanent)
    );
    let error = plan(vec![text], json!({}))
        .pick(&row(json!({}), vec![]))
        .unwrap_err();
    assert!(error.message.contains("deleted"), "{}", error.message);
}

#[test]
fn without_mappings_the_first_fitting_blob_is_taken_then_text() {
    let image = declared("image", &["image"]);
    let source = row(
        json!({"text": "t"}),
        vec![blob("doc", "pdf"), blob("pic", "image")],
    );
    assert_eq!(
        plan(vec![image.clone()], json!({})).pick(&source).unwrap()["image"],
        Picked::Blob(&source.blobs[1])
    );
    let text = declared("text", &["text", "string"]);
    assert_eq!(
        plan(vec![text], json!({})).pick(&source).unwrap()["text"],
        Picked::Value(json!("t"))
    );
    let file = declared("file", &["string", "text", "image", "pdf"]);
    let odd = row(json!({}), vec![blob("thing", "other")]);
    assert_eq!(
        plan(vec![file.clone()], json!({})).pick(&odd).unwrap()["file"],
        Picked::Blob(&odd.blobs[0])
    );
    let fields = row(json!({"b": "two", "n": 3, "a": "one"}), vec![]);
    assert_eq!(
        plan(vec![file], json!({})).pick(&fields).unwrap()["file"],
        Picked::Value(json!("a: one\nb: two"))
    );
    assert!(plan(vec![image], json!({})).pick(&odd).is_err());
}

#[test]
fn without_mappings_and_declared_inputs_everything_is_given() {
    let source = row(json!({"a": 1, "gone": null}), vec![blob("pic", "image")]);
    let picked = plan(vec![], json!({})).pick(&source).unwrap();
    assert_eq!(picked.keys().collect::<Vec<_>>(), ["a", "pic"]);
}

#[test]
fn data_in_line_is_a_value() {
    let inline = ManifestBlob {
        address: None,
        value: Some(json!("hello")),
        ..blob("note", "text")
    };
    let source = row(json!({}), vec![inline]);
    assert_eq!(
        plan(vec![], json!({"text": "note"})).pick(&source).unwrap()["text"],
        Picked::Value(json!("hello"))
    );
}

#[test]
fn mappings_that_mean_nothing_are_refused() {
    for bad in [
        json!({"a": null}),
        json!({"a": ["x"]}),
        json!({"a": {"source_type": "literal"}}),
        json!({"a": {"source_type": "magic", "path": "x"}}),
        json!({"a": {}}),
    ] {
        let error = InputPlan::new(vec![], bad.as_object().unwrap()).unwrap_err();
        assert!(
            error.to_string().starts_with("input_mappings.a "),
            "{error}"
        );
    }
}
