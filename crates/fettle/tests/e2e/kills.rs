//! kill -9 of `serve`, drivers and workers: nothing is lost, nothing is doubled, the books balance.

use serde_json::{Value, json};

use crate::server::{Server, drivers, signal, text_files, wait, workers};

/// Files of the batch that is being shot at.
const FILES: usize = 2_000;

/// Rows with an outcome so far.
fn finished(server: &Server, batch: &str) -> u64 {
    server.batch(batch)["progress"]["processed"]
        .as_u64()
        .unwrap_or(0)
}

fn is_over(server: &Server, batch: &str) -> bool {
    let status = server.batch(batch)["status"].clone();
    !["QUEUED", "PROCESSING"].iter().any(|open| status == *open)
}

/// Waits until so many rows are finished; says whether the batch still runs then.
fn reached(server: &Server, batch: &str, rows: u64) -> bool {
    wait(&format!("{rows} rows are finished"), || {
        let over = is_over(server, batch);
        (over || finished(server, batch) >= rows).then_some(!over)
    })
}

/// The laws of accounting, as a user can check them.
fn check_books(server: &Server, bucket: &str, batch: &str, collection: &str) {
    let ended = server.wait_for_end(batch);
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    let audit = server.get(&format!("/v1/buckets/{bucket}/batches/{batch}/audit"));
    assert_eq!(audit["all_balanced"], true, "{audit:#}");
    assert_eq!(audit["has_lost_objects"], false, "{audit:#}");
    let tier = &audit["tiers"][0];
    assert_eq!(tier["submitted"], FILES, "{audit:#}");
    let sum: u64 = ["processed", "failed", "skipped"]
        .iter()
        .map(|part| tier[*part].as_u64().unwrap())
        .sum();
    assert_eq!(sum, FILES as u64, "{audit:#}");
    let count = server.get(&format!("/v1/collections/{collection}/documents/count"));
    assert_eq!(documents(&count), FILES as u64, "{count}");
    every_object_has_one_document(server, collection);
}

fn documents(count: &Value) -> u64 {
    ["count", "document_count", "total"]
        .iter()
        .find_map(|key| count[*key].as_u64())
        .unwrap_or_else(|| panic!("no count in {count}"))
}

fn every_object_has_one_document(server: &Server, collection: &str) {
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = Value::Null;
    loop {
        let body = json!({"limit": 1000, "cursor": cursor});
        let page = server.post(
            &format!("/v1/collections/{collection}/documents/list"),
            body,
        );
        for document in page["results"].as_array().unwrap() {
            let root = document["_internal"]["lineage"]["root_object_id"]
                .as_str()
                .unwrap();
            assert!(seen.insert(root.to_owned()), "two documents of {root}");
        }
        cursor = page["pagination"]["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), FILES);
}

fn begin(dir: &std::path::Path) -> (Server, String, String, String) {
    let files = text_files(&dir.join("files"), FILES);
    let server = Server::start(&dir.join("data"), dir, &[]);
    let bucket = server.bucket("shots");
    let collection = server.collection(
        "lines",
        &bucket,
        "text_extractor",
        json!({"embedding": "lexical"}),
    );
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    (server, bucket, collection, batch)
}

#[test]
fn a_batch_outlives_kills_of_its_workers_and_drivers() {
    let dir = tempfile::tempdir().unwrap();
    let (server, bucket, collection, batch) = begin(dir.path());
    let mut shots = 0;
    for (at, what) in [
        (50, "worker"),
        (300, "driver"),
        (600, "worker"),
        (900, "driver"),
    ] {
        if !reached(&server, &batch, at) {
            break;
        }
        let targets = match what {
            "worker" => workers(server.data_dir()),
            _ => drivers(server.data_dir()),
        };
        for target in &targets {
            signal("KILL", *target);
        }
        shots += usize::from(!targets.is_empty());
    }
    assert!(shots >= 2, "only {shots} shots hit a running batch");
    check_books(&server, &bucket, &batch, &collection);
}

#[test]
fn a_batch_outlives_kills_of_the_server_and_its_drivers_are_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, bucket, collection, batch) = begin(dir.path());
    let mut adopted = 0;
    for at in [20, 500, 1_000] {
        if !reached(&server, &batch, at) {
            break;
        }
        let before = drivers(server.data_dir());
        server.kill();
        let survived = drivers(server.data_dir());
        assert_eq!(before, survived, "killing the server killed a driver");
        server.restart();
        adopted += usize::from(!survived.is_empty());
    }
    assert!(adopted >= 1, "no kill hit a running batch");
    check_books(&server, &bucket, &batch, &collection);
    let attempts = server.batch(&batch)["tier_tasks"][0]["ray_job_id"].clone();
    assert!(attempts.is_string());
}

#[test]
fn a_batch_outlives_the_death_of_server_and_driver_together() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, bucket, collection, batch) = begin(dir.path());
    assert!(
        reached(&server, &batch, 100),
        "the batch was over before the shot"
    );
    server.kill();
    for driver in drivers(server.data_dir()) {
        signal("KILL", driver);
    }
    wait("no worker outlives its driver", || {
        workers(server.data_dir()).is_empty().then_some(())
    });
    server.restart();
    check_books(&server, &bucket, &batch, &collection);
}

#[test]
fn a_polite_end_leaves_running_jobs_running() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, bucket, collection, batch) = begin(dir.path());
    assert!(
        reached(&server, &batch, 20),
        "the batch was over before the signal"
    );
    let status = server.terminate();
    assert!(status.success(), "{status}");
    server.restart();
    check_books(&server, &bucket, &batch, &collection);
}
