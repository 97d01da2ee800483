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
