//! What a diagnosis tells beyond the verdict: times, use, comparisons, groups, Markdown, pages. And how fast it is.

use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use fettle_model::evidence::UsageEvidence;
use fettle_model::{AttemptEvidence, AttemptExit, StageTimings, UnixMillis};
use serde_json::{Value, json};

use crate::harness::Api;
use crate::run::{Driver, out_of_memory, reached, submitted};

/// A text answer to who asks for this type, and the type that it came in.
async fn text(api: &Api, path: &str, accept: &str) -> (String, String) {
    let request = Request::builder()
        .uri(path)
        .header("authorization", format!("Bearer {}", api.key))
        .header("accept", accept)
        .header("host", "127.0.0.1:8080")
        .body(Body::empty())
        .unwrap();
    let response = api.send(request).await;
    assert_eq!(response.status(), 200, "{path}");
    let kind = response.headers()["content-type"].to_str().unwrap();
    let kind = kind.to_owned();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (kind, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Submits another batch of the same objects.
async fn again(api: &Api, objects: &[String], memory_bytes: u64) -> String {
    let batches = "/v1/buckets/docs/batches";
    let made = api
        .ok("POST", batches, json!({"object_ids": objects}))
        .await;
    let path = format!("{batches}/{}", made["batch_id"].as_str().unwrap());
    let resources = json!({"resources": {"0": {"memory_bytes": memory_bytes}}});
    api.ok("POST", &format!("{path}/submit"), resources).await;
    path
}

async fn diagnosis(api: &Api, path: &str) -> Value {
    api.ok("GET", &format!("{path}/diagnose"), Value::Null)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_compared_with_the_last_good_one() {
    let api = Api::new().await;
    let (good, objects, _) = submitted(&api, &["one", "two"]).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    driver
        .rows(vec![driver.document(0, "one"), driver.document(1, "two")])
        .await;
    let usage = UsageEvidence {
        cpu_ms: 900,
        io_bytes: 5,
        worker_ms: 1_000,
    };
    let evidence = AttemptEvidence {
        usage: Some(usage),
        ..AttemptEvidence::default()
    };
    driver.end(AttemptExit::Finished, evidence);
    let batch = reached(&api, &good, "COMPLETED").await;
    let told = diagnosis(&api, &good).await;
    assert_eq!(told["compared_with_last_good"], Value::Null);
    let tier = &told["per_tier"][0];
    assert_eq!(tier["resources"]["used"]["cpu_seconds"], 0.9);
    assert_eq!(tier["resources"]["used"]["num_cpus"], 0.9);
    assert_eq!(tier["stages"][1]["name"], "processing");
    let phases = tier["phases"].as_object().unwrap().values();
    let sum: f64 = phases.map(|part| part.as_f64().unwrap()).sum();
    let took = tier["duration_seconds"].as_f64().unwrap();
    assert!((sum - took).abs() < 1e-6, "{tier:#}");

    let bad = again(&api, &objects, 64 << 20).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    driver.end(AttemptExit::OutOfMemory, out_of_memory(&driver.spec));
    reached(&api, &bad, "FAILED").await;
    let told = diagnosis(&api, &bad).await;
    let job = &told["compared_with_last_good"]["jobs"][0];
    assert_eq!(job["last_good_batch_id"], batch["batch_id"]);
    assert_eq!(
        job["differences"],
        json!([{"what": "memory_bytes", "last_good": 100 << 20, "now": 64 << 20}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diagnosis_is_markdown_for_who_asks_for_it_and_its_links_lead_somewhere() {
    let api = Api::new().await;
    let (path, objects, _) = submitted(&api, &["one", "two"]).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    let mut failed = driver.failure(0, &objects[0]);
    let message = "<script>alert(1)</script> | token=hush-hush-hush `x`";
    failed.error.as_mut().unwrap().message = message.to_owned();
    driver.rows(vec![failed, driver.document(1, "two")]).await;
    driver.end(AttemptExit::Finished, AttemptEvidence::default());
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;

    let diagnose = format!("{path}/diagnose");
    let (kind, told) = text(&api, &diagnose, "text/markdown").await;
    assert_eq!(kind, "text/markdown; charset=utf-8");
    let cell = "`` <script>alert(1)</script> \\| token=<hidden> `x` ``";
    assert!(told.contains(cell), "{told}");
    assert!(told.contains(r"\<script\>alert(1)\</script\>"), "{told}");
    assert!(!told.contains("hush"), "{told}");
    for line in told.lines().filter(|line| line.starts_with('|')) {
        assert!(line.ends_with('|'), "{line}");
    }
    let link = "(http://127.0.0.1:8080/docs/failures#document_errors)";
    assert!(told.contains(link), "{told}");

    let json = diagnosis(&api, &path).await;
    let group = &json["error_groups"][0];
    assert_eq!(
        (&group["count"], &group["example"]),
        (&json!(1), &json!(message))
    );
    let url = json["case_docs_url"].as_str().unwrap();
    let (page, anchor) = url.split_once('#').unwrap();
    let (kind, html) = text(&api, page, "text/html").await;
    assert!(kind.starts_with("text/html"));
    assert!(html.contains(&format!("id=\"{anchor}\"")), "{url}");
    let (kind, markdown) = text(&api, page, "text/markdown").await;
    assert!(kind.starts_with("text/markdown") && markdown.starts_with("# Failures"));
    api.refused(404, "GET", "/docs/nothing", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_heartbeat_takes_no_evidence_away() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    let mut evidence = out_of_memory(&driver.spec);
    let mut late = evidence.worker_deaths.remove(0);
    evidence.worker_deaths.truncate(1);
    evidence.version = Some("9.9".into());
    let stages = StageTimings::default();
    let exit = json!({"exit": AttemptExit::OutOfMemory, "evidence": evidence, "stages": stages, "at": 1_700_000_101_000_i64});
    let (status, answer) = driver.post("exit", exit).await;
    assert_eq!(status, 200, "{answer:#}");
    late.worker = 5;
    late.at = UnixMillis(1_700_000_100_950);
    let beat = json!({"seq": 2, "at": 1_700_000_101_100_i64, "rows_finished": 0, "rows_total": 1, "last_progress_at": null,
        "stages": stages, "workers": [], "worker_deaths": [late]});
    for _ in 0..2 {
        let (status, answer) = driver.post("heartbeat", beat.clone()).await;
        assert_eq!(status, 200, "{answer:#}");
    }
    let told = diagnosis(&api, &path).await;
    let attempt = &told["per_tier"][0]["jobs"][0]["attempts"][0];
    assert_eq!(attempt["driver_version"], "9.9");
    assert_eq!(attempt["worker_deaths"].as_array().unwrap().len(), 2);
    let timeline = told["timeline"].as_array().unwrap();
    let deaths = timeline
        .iter()
        .filter(|entry| entry["kind"] == "worker_died");
    assert_eq!(deaths.count(), 1, "a death that is told twice is one");
}

/// Failed documents of the measurement.
const FAILED: u32 = 10_000;
/// Diagnoses that are timed.
const LOOKS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn diagnosis_of_ten_thousand_failed_documents_is_timed() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    let bodies: Vec<String> = (0..FAILED).map(|row| format!("text {row}")).collect();
    let mut objects = Vec::new();
    for some in bodies.chunks(100) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        objects.extend(api.objects(&bucket, &some).await);
    }
    let path = again(&api, &objects, 100 << 20).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    let rows: Vec<u32> = (0..FAILED).collect();
    for some in rows.chunks(256) {
        let failure = |row: &u32| {
            let mut failed = driver.failure(*row, &objects[*row as usize]);
            let error = failed.error.as_mut().unwrap();
            error.message = format!(
                "kind {}: row {row} is bad",
                ["a", "b", "c"][*row as usize % 3]
            );
            error.traceback = Some("Traceback (most recent call last)\n".repeat(20));
            failed
        };
        driver.rows(some.iter().map(failure).collect()).await;
    }
    driver.end(AttemptExit::Finished, AttemptEvidence::default());
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    let told = diagnosis(&api, &path).await;
    assert_eq!(told["failed_document_count"], FAILED);
    assert_eq!(told["error_groups"].as_array().unwrap().len(), 3);
    let mut times: Vec<Duration> = Vec::new();
    let cpu_before = cpu();
    for _ in 0..LOOKS {
        let began = Instant::now();
        diagnosis(&api, &path).await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "diagnose of {FAILED} failed documents: median {:?}, slowest {:?}, CPU of each {:?}",
        times[LOOKS / 2],
        times[LOOKS - 1],
        (cpu() - cpu_before) / LOOKS as u32
    );
}

/// Processor time of this process so far, in hundredths of a second: the wall clock of a machine that others use says little.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, user time is the twelfth field and system time the next.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|it| it.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(10 * ticks)
}
