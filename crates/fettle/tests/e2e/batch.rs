//! A batch from files to documents, and what is wrong with single rows.

use serde_json::json;

use crate::server::{Server, text_files};

#[test]
fn rows_that_cannot_be_read_fail_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = text_files(&dir.path().join("files"), 30);
    files.push(dir.path().join("files/missing.txt"));
    let unreadable = dir.path().join("files/folder.txt");
    std::fs::create_dir(&unreadable).unwrap();
    files.push(unreadable);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    let bucket = server.bucket("b");
    server.collection("lines", &bucket, "universal_extractor", json!({}));
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED_WITH_ERRORS", "{ended:#}");
    let path = format!("/v1/buckets/{bucket}/batches/{batch}");
    let audit = server.get(&format!("{path}/audit"));
    let tier = &audit["tiers"][0];
    assert_eq!(
        (&tier["submitted"], &tier["processed"], &tier["failed"]),
        (&json!(32), &json!(30), &json!(2))
    );
    let failed = server.get(&format!("{path}/failed-documents"));
    assert!(failed.to_string().contains("missing.txt"), "{failed:#}");
    let stages = &ended["progress"]["stage_history"];
    let names: Vec<&str> = stages
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["loading", "processing", "writing"], "{stages}");
}

/// A PNG of one transparent pixel.
const PIXEL: [u8; 67] = [
    0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00, 0x00, 0x00, 0x0D, 0x49, 0x48, 0x44, 0x52,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1F, 0x15, 0xC4,
    0x89, 0x00, 0x00, 0x00, 0x0A, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9C, 0x63, 0x00, 0x01, 0x00, 0x00,
    0x05, 0x00, 0x01, 0x0D, 0x0A, 0x2D, 0xB4, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4E, 0x44, 0xAE,
    0x42, 0x60, 0x82,
];

#[test]
fn a_document_that_holds_nothing_for_the_next_tier_is_skipped_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = text_files(&dir.path().join("files"), 3);
    let image = dir.path().join("files/pixel.png");
    std::fs::write(&image, PIXEL).unwrap();
    files.push(image);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    let bucket = server.bucket("mixed");
    let pages = server.collection("pages", &bucket, "universal_extractor", json!({}));
    let source = json!({"type": "collection", "collection_ids": [pages]});
    let extractor = json!({
        "feature_extractor_name": "text_extractor",
        "version": "v1",
        "parameters": {"embedding": "lexical"},
        "input_mappings": {"text": "text"},
    });
    let chunks =
        json!({"collection_name": "chunks", "source": source, "feature_extractor": extractor});
    server.post("/v1/collections", chunks);
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    let audit = server.get(&format!("/v1/buckets/{bucket}/batches/{batch}/audit"));
    let tier = &audit["tiers"][1];
    assert_eq!(
        (&tier["processed"], &tier["failed"], &tier["skipped"]),
        (&json!(3), &json!(0), &json!(1)),
        "{audit:#}"
    );
}
