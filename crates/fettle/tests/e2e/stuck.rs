//! Workers that stand still: found by what they do, ended with evidence, and their rows done or given up.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::plugins::install;
use crate::server::{Server, drivers, signal, text_files, wait, workers};

fn timeline(server: &Server, bucket: &str, batch: &str) -> String {
    let path = format!("/v1/buckets/{bucket}/batches/{batch}/diagnose");
    server.get(&path)["timeline"].to_string()
}

#[test]
fn a_stopped_worker_is_found_ended_and_its_rows_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 3_000);
    let floor_s = 3;
    let server = Server::start(
        &dir.path().join("data"),
        dir.path(),
        &["--stuck-after", &floor_s.to_string()],
    );
    let bucket = server.bucket("still");
    let parameters = json!({"embedding": "lexical"});
    let collection = server.collection("lines", &bucket, "text_extractor", parameters);
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    wait("rows are finished", || {
        let done = server.batch(&batch)["progress"]["processed"].as_u64();
        (done >= Some(100)).then_some(())
    });
    let victim = workers(server.data_dir())[0];
    signal("STOP", victim);
    let stopped = Instant::now();
    wait("the batch is called stuck, or mended already", || {
        let seen = server.batch(&batch);
        let is_over = seen["completed_at"].is_string();
        assert!(!is_over, "the worker was not stopped in time");
        let is_gone = !workers(server.data_dir()).contains(&victim);
        (seen["health"] == "stuck" || is_gone).then_some(())
    });
    let found_after = stopped.elapsed();
    // A heartbeat a second and a look at each answer come on top of the limit.
    assert!(
        found_after < Duration::from_secs(2 * floor_s + 24),
        "{found_after:?}"
    );
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    let told = timeline(&server, &bucket, &batch);
    assert!(told.contains("was stopped by a signal"), "{told}");
    assert!(told.contains(&format!("kill-w0-p{victim}-r")), "{told}");
    let count = server.get(&format!("/v1/collections/{collection}/documents/count"));
    assert!(count.to_string().contains("3000"), "{count}");
}

#[test]
fn only_detection_ends_nobody_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 2_000);
    let server = Server::start(
        &dir.path().join("data"),
        dir.path(),
        &["--stuck", "detect", "--stuck-after", "2"],
    );
    let bucket = server.bucket("watched");
    server.collection(
        "lines",
        &bucket,
        "text_extractor",
        json!({"embedding": "lexical"}),
    );
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    let victim = wait("a worker runs", || {
        workers(server.data_dir()).first().copied()
    });
    wait("rows are finished", || {
        let done = server.batch(&batch)["progress"]["processed"].as_u64();
        (done >= Some(20)).then_some(())
    });
    signal("STOP", victim);
    wait("the batch is called stuck and it is noted", || {
        let is_noted = timeline(&server, &bucket, &batch).contains("nothing is done about it");
        (server.batch(&batch)["health"] == "stuck" && is_noted).then_some(())
    });
    assert!(workers(server.data_dir()).contains(&victim));
    let heal = |dry_run: bool| {
        let path = format!("/v1/buckets/{bucket}/batches/{batch}/tiers/0/heal");
        let body = json!({"action": "detect_stuck", "dry_run": dry_run});
        server.post(&path, body)["findings"][0].clone()
    };
    let would = heal(true);
    assert_eq!(would["outcome"], "would_do", "{would:#}");
    assert!(workers(server.data_dir()).contains(&victim));
    let done = heal(false);
    assert_eq!(
        (&done["kind"], &done["action"], &done["outcome"]),
        (&json!("hung"), &json!("wake_worker"), &json!("ordered")),
        "{done:#}"
    );
    assert_eq!(done["pid"], victim);
    let ended = server.wait_for_end(&batch);
    assert_eq!(
        (&ended["status"], &ended["health"]),
        (&json!("COMPLETED"), &json!("healthy"))
    );
}

#[test]
fn a_driver_that_stands_still_is_begun_anew_where_the_policy_is_auto() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 2_000);
    let server = Server::start(
        &dir.path().join("data"),
        dir.path(),
        &["--stuck-after", "1"],
    );
    let bucket = server.bucket("driven");
    let parameters = json!({"embedding": "lexical"});
    let collection = server.collection("lines", &bucket, "text_extractor", parameters);
    let policy = json!({"healing": {"mode": "auto"}});
    server.call("PATCH", &format!("/v1/buckets/{bucket}"), Some(policy));
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    wait("rows are finished", || {
        let done = server.batch(&batch)["progress"]["processed"].as_u64();
        (done >= Some(20)).then_some(())
    });
    let victim = drivers(server.data_dir())[0];
    signal("STOP", victim);
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    let tier = &ended["tier_tasks"][0];
    assert_eq!(tier["retry_reason"], "the attempt was stuck", "{tier:#}");
    assert!(tier["kept_work"]["rows"].as_u64() >= Some(20), "{tier:#}");
    assert_eq!(drivers(server.data_dir()), Vec::<u32>::new());
    let count = server.get(&format!("/v1/collections/{collection}/documents/count"));
    assert!(count.to_string().contains("2000"), "{count}");
}

const DEEPER: &str = r#"
import time

def run(rows):
    return [look(open(row["text"]["path"]).read()) for row in rows]

def look(text):
    if "number 90." in text:
        wait_for_ever()
    return {"length": len(text)}

def wait_for_ever():
    time.sleep(3600)
"#;

#[test]
fn a_row_that_hangs_is_shown_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 120);
    let server = Server::start(
        &dir.path().join("data"),
        dir.path(),
        &["--stuck-after", "1"],
    );
    install(&server, "deep", "batch_rows = 1", DEEPER);
    let bucket = server.bucket("deep");
    server.collection("depths", &bucket, "deep", json!({}));
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED_WITH_ERRORS", "{ended:#}");
    let path = format!("/v1/buckets/{bucket}/batches/{batch}/failed-documents");
    let list = server.get(&path);
    assert_eq!(list["total"], 1, "{list:#}");
    let told = list.to_string();
    // The kernel's wait channel of the plugin's own process.
    for word in ["stood still", "(python", "nanosleep"] {
        assert!(told.contains(word), "no `{word}` in {list:#}");
    }
    let has = |tool: &str| {
        let asked = std::process::Command::new(tool).arg("--version").output();
        asked.is_ok_and(|answer| answer.status.success())
    };
    if has("py-spy") {
        assert!(told.contains("wait_for_ever"), "{list:#}");
    } else {
        eprintln!("SKIPPED: no py-spy here, so no Python stack");
    }
}
