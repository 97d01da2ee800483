//! Rows that kill or hang, and requests to stop.

use serde_json::json;

use crate::server::{Server, drivers, text, text_files, wait, workers};

#[test]
fn a_cancelled_batch_leaves_no_process_and_keeps_its_documents() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 2_000);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    let bucket = server.bucket("b");
    let collection = server.collection(
        "lines",
        &bucket,
        "text_extractor",
        json!({"embedding": "lexical"}),
    );
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    wait("a worker runs", || {
        (!workers(server.data_dir()).is_empty()).then_some(())
    });
    let path = format!("/v1/buckets/{bucket}/batches/{batch}");
    let task = server.post(&format!("{path}/cancel?reason=enough"), json!({}));
    assert!(text(&task["task_id"]).starts_with("task_"), "{task}");
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "CANCELED", "{ended:#}");
    assert_eq!(drivers(server.data_dir()), Vec::<u32>::new());
    assert_eq!(workers(server.data_dir()), Vec::<u32>::new());
    let audit = server.get(&format!("{path}/audit"));
    let processed = audit["tiers"][0]["processed"].as_u64().unwrap();
    let count = server.get(&format!("/v1/collections/{collection}/documents/count"));
    assert!(
        count.to_string().contains(&processed.to_string()),
        "{processed} rows, {count}"
    );
    let (status, answer) = server.try_call("POST", &format!("{path}/cancel"), Some(json!({})));
    assert_eq!(status, 409, "{answer}");
    assert!(
        answer.to_string().contains("CANCELED"),
        "the present state is not named: {answer}"
    );
}
