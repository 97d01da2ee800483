//! `universal_extractor`.

use std::io::Cursor;

use fettle_model::ErrorCategory;
use fettle_model::catalogue::UNIVERSAL_COLOUR_LAYOUT_VECTOR;
use fettle_worker::extract::InputValue;
use image::{ImageFormat, RgbImage};
use serde_json::json;

use crate::support::{
    assert_permanent, assert_vector, blob_row, extractor, named_blob_row, one, one_part, pdf, row,
};

fn png() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::new(3, 2)
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn content_is_routed_by_what_it_is() {
    let mut universal = extractor("universal_extractor", &json!({}));
    let cases: &[(&[u8], &str, &str)] = &[
        (b"plain words", "text", "text/plain"),
        (b"a,b\n1,2\n3,4\n", "text", "text/csv"),
        (b"{\"a\": [1]}", "text", "application/json"),
        (
            b"<!doctype html><title>t</title><p>x",
            "document",
            "text/html",
        ),
        (&pdf(&["page"]), "document", "application/pdf"),
        (&png(), "image", "image/png"),
        (
            b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
            "binary",
            "application/zip",
        ),
        (
            b"\x00\x01\x02\x03\x04\xff\xfe",
            "binary",
            "application/octet-stream",
        ),
        (b"ID3\x03\x00\x00\x00\x00\x0f\x76", "binary", "audio/mpeg"),
    ];
    for (bytes, modality, mime_type) in cases {
        let part = one_part(
            universal.as_mut(),
            named_blob_row("file", bytes, Some("wrong.jpg")),
        );
        let found = (&part.fields["modality"], &part.fields["mime_type"]);
        assert_eq!(found, (&json!(modality), &json!(mime_type)));
        assert_eq!(part.fields["size_bytes"], json!(bytes.len()));
        assert_eq!(part.vectors.len(), usize::from(*modality == "image"));
        let has_text = matches!(*modality, "text" | "document");
        assert_eq!(part.fields.contains_key("text"), has_text, "{mime_type}");
        assert_eq!(
            part.fields.contains_key("blake3"),
            *modality == "binary",
            "{mime_type}"
        );
    }
    let part = one_part(universal.as_mut(), blob_row("file", &png()));
    assert_vector(&part, UNIVERSAL_COLOUR_LAYOUT_VECTOR, 192);
}

#[test]
fn fields_are_content_too() {
    let mut universal = extractor("universal_extractor", &json!({}));
    let part = one_part(
        universal.as_mut(),
        row("file", InputValue::Json(json!({ "k": [1, 2] }))),
    );
    assert_eq!(part.fields["mime_type"], json!("application/json"));
    let part = one_part(
        universal.as_mut(),
        row("file", InputValue::Text("note".to_owned())),
    );
    assert_eq!(part.fields["modality"], json!("text"));
}

#[test]
fn a_broken_image_fails_rather_than_passing_as_something_else() {
    let mut universal = extractor("universal_extractor", &json!({}));
    let png = png();
    let result = one(universal.as_mut(), blob_row("file", &png[..30]));
    assert_permanent(result, ErrorCategory::Validation, "cut short");
}
