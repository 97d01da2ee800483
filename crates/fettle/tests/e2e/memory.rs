//! A worker that needs more memory than it has: the kernel's counter is the evidence, the advice is a call that works.

use serde_json::json;

use crate::server::{Server, text, text_files};

/// The sentence model does not fit into this.
const TOO_LITTLE_BYTES: u64 = 64 * 1024 * 1024;

#[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
fn model_dir() -> Option<String> {
    let dir = std::env::var("FETTLE_MODEL_DIR").ok();
    if dir.is_none() {
        eprintln!("SKIPPED: FETTLE_MODEL_DIR is not set; `make test` sets it");
    }
    dir
}

#[test]
fn a_tier_without_enough_memory_is_diagnosed_and_mended_by_the_recommended_call() {
    let Some(model) = model_dir() else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 12);
    let server = Server::start(
        &dir.path().join("data"),
        dir.path(),
        &["--model-dir", &model],
    );
    let bucket = server.bucket("b");
    let pages = server.collection("pages", &bucket, "universal_extractor", json!({}));
    let source = json!({"type": "collection", "collection_ids": [pages]});
    let chunks = server.collection_from(
        "chunks",
        source,
        "text_extractor",
        json!({"embedding": "minilm"}),
    );
    let objects = server.objects(&bucket, &files);
    let submission = json!({"resources": {"1": {"memory_bytes": TOO_LITTLE_BYTES}}});
    let batch = server.submit(&bucket, &objects, submission);

    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "FAILED", "{ended:#}");
    let path = format!("/v1/buckets/{bucket}/batches/{batch}");
    let diagnosis = server.get(&format!("{path}/diagnose"));
    assert_eq!(
        diagnosis["failure_category"], "infrastructure",
        "{diagnosis:#}"
    );
    assert!(
        diagnosis["confidence"].as_f64().unwrap() >= 0.95,
        "{diagnosis:#}"
    );
    let events = diagnosis["infrastructure_events"].as_array().unwrap();
    assert!(
        events.iter().any(|event| event["event_type"] == "oom"),
        "{diagnosis:#}"
    );
    let evidence = diagnosis["evidence"].to_string();
    assert!(
        evidence.contains("oom_kill"),
        "no kernel counter in {evidence}"
    );

    let attempt = &diagnosis["per_tier"][1]["jobs"][0]["attempts"][0];
    let death = &attempt["worker_deaths"][0];
    assert!(death["cpu_ms_since_row"].is_u64(), "{death:#}");
    assert!(death["io_bytes_since_row"].as_u64() > Some(0), "{death:#}");
    assert!(
        !death["memory_curve"].as_array().unwrap().is_empty(),
        "{death:#}"
    );
    assert!(death["log"]["tail_offset"].is_u64(), "{death:#}");
    for version in ["driver_version", "node_facts", "driver_log"] {
        assert!(!attempt[version].is_null(), "{version} in {attempt:#}");
    }
    for keys in [
        &attempt["env_vars_keys"],
        &diagnosis["per_tier"][1]["submission_params"]["env_vars_keys"],
    ] {
        assert!(
            keys.as_array().unwrap().contains(&json!("PATH")),
            "{keys:#}"
        );
    }

    let action = &diagnosis["recommended_actions"][0];
    let memory = action["body"]["memory_bytes"].as_u64().unwrap();
    assert!(memory > TOO_LITTLE_BYTES, "{action}");
    let mut tries = 0;
    let mut action = action.clone();
    // A killed worker's peak is only a lower bound of its need, so the advice may have to be followed twice.
    let ended = loop {
        server.call(
            &text(&action["method"]),
            &text(&action["path"]),
            Some(action["body"].clone()),
        );
        let ended = server.wait_for_end(&batch);
        tries += 1;
        if ended["status"] == "COMPLETED" || tries == 4 {
            break ended;
        }
        action = server.get(&format!("{path}/diagnose"))["recommended_actions"][0].clone();
    };
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    let audit = server.get(&format!("{path}/audit"));
    assert_eq!(audit["all_balanced"], true, "{audit:#}");
    let params = &ended["tier_tasks"][1]["submission_params"];
    assert!(
        params["memory_bytes"].as_u64().unwrap() >= memory,
        "raised memory did not stick: {params}"
    );
    let count = server.get(&format!("/v1/collections/{chunks}/documents/count"));
    assert!(count.to_string().contains("12"), "{count}");
}
