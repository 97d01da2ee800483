//! A batch from draft to done, out of memory and mended, cancelled: with the test as the driver.

use fettle_model::catalogue::LEXICAL_VECTOR;
use fettle_model::evidence::{InFlightRow, MemoryEnforcement, UsageEvidence};
use fettle_model::history::SlowRow;
use fettle_model::lexical::lexical_vector;
use fettle_model::report::{DocumentReport, Heartbeat, RowReport, RowsReport, VectorReport};
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptProfile, AttemptSpec, DocumentErrorClass, DocumentId,
    ErrorCategory, MemoryEvidence, ProcessExit, RowError, RowOutcome, Stage, StageTimings,
    UnixMillis, WorkerDeath,
};
use serde_json::{Value, json};

use crate::harness::{Api, eventually};

/// The driver that a test plays.
pub(crate) struct Driver<'a> {
    pub(crate) api: &'a Api,
    pub(crate) spec: AttemptSpec,
    pub(crate) token: String,
}

impl<'a> Driver<'a> {
    /// Of the next attempt that is started.
    pub(crate) async fn next(api: &'a Api) -> Self {
        let (spec, token) = eventually("an attempt", || async {
            api.executor.running().into_iter().next()
        })
        .await;
        Self { api, spec, token }
    }

    pub(crate) async fn post(&self, what: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/internal/attempts/{}/{what}", self.spec.attempt_id);
        self.api
            .call_as(&self.token, None, "POST", &path, body)
            .await
    }

    pub(crate) async fn beat(&self) -> Value {
        let beat = Heartbeat {
            seq: 1,
            at: UnixMillis(1_700_000_100_000),
            rows_finished: 0,
            rows_total: self.spec.pending.count(),
            stages: stages(),
            ..Heartbeat::default()
        };
        let (status, ack) = self.post("heartbeat", json!(beat)).await;
        assert_eq!(status, 200, "{ack:#}");
        ack
    }

    /// Row `row` becomes a document with this text.
    pub(crate) fn document(&self, row: u32, text: &str) -> RowReport {
        let mut id = [0; 15];
        id[11..].copy_from_slice(&row.to_be_bytes());
        let payload = json!({"text": text, "_internal": {"batch_id": self.spec.batch_id}});
        RowReport {
            row,
            source_id: None,
            collection_id: self.spec.targets[0].collection_id.clone(),
            outcome: RowOutcome::Processed,
            documents: vec![DocumentReport {
                id: DocumentId::from_entropy(id),
                payload: payload.as_object().unwrap().clone(),
                vectors: vec![VectorReport::encode(
                    LEXICAL_VECTOR.into(),
                    &lexical_vector(text),
                )],
            }],
            error: None,
        }
    }

    /// Row `row` fails.
    pub(crate) fn failure(&self, row: u32, source_id: &str) -> RowReport {
        let error = RowError {
            row,
            source_id: source_id.into(),
            category: ErrorCategory::Validation,
            class: DocumentErrorClass::Permanent,
            stage: Stage::Processing,
            message: "it is not text".into(),
            component: "text_extractor_v1".into(),
            traceback: None,
            at: UnixMillis(1_700_000_100_500),
        };
        RowReport {
            outcome: RowOutcome::Failed,
            documents: vec![],
            error: Some(error),
            ..self.document(row, "")
        }
    }

    pub(crate) async fn rows(&self, rows: Vec<RowReport>) {
        let (status, ack) = self.post("rows", json!(RowsReport { rows })).await;
        assert_eq!(status, 200, "{ack:#}");
    }

    /// Evidence of rows that took so long, in milliseconds.
    fn measured(&self, rows_ms: &[u64]) -> AttemptEvidence {
        let mut profile = AttemptProfile::default();
        for (ms, row) in rows_ms.iter().zip(0..) {
            profile.row_finished(SlowRow {
                us: ms * 1_000,
                at: UnixMillis(1_700_000_100_000),
                stage: Stage::Processing,
                attempt_id: self.spec.attempt_id.clone(),
                row,
                source_id: format!("source {row}"),
                bytes: 7,
            });
            profile.stages.processing.record(ms * 900, 1);
        }
        AttemptEvidence {
            profile: Some(profile),
            usage: Some(UsageEvidence {
                cpu_ms: 1_000,
                io_bytes: 0,
                worker_ms: 6_000,
            }),
            ..AttemptEvidence::default()
        }
    }

    pub(crate) fn end(&self, exit: AttemptExit, evidence: AttemptEvidence) {
        self.api
            .executor
            .end(&self.spec.attempt_id, exit, evidence, stages());
    }
}

fn stages() -> StageTimings {
    let mut stages = StageTimings::default();
    for (stage, busy_ms) in Stage::ALL.into_iter().zip([100, 800, 50]) {
        let timing = stages.get_mut(stage);
        timing.busy_ms = busy_ms;
        timing.rows = 2;
        timing.started_at = Some(UnixMillis(1_700_000_100_000));
        timing.ended_at = Some(UnixMillis(1_700_000_101_000));
    }
    stages
}

pub(crate) async fn submitted(api: &Api, bodies: &[&str]) -> (String, Vec<String>, String) {
    let (bucket, _) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, bodies).await;
    let made = api
        .ok(
            "POST",
            "/v1/buckets/docs/batches",
            json!({"object_ids": objects, "batch_name": "b", "metadata": {"tags": ["x"]}}),
        )
        .await;
    assert_eq!(
        (
            made["status"].as_str(),
            made["object_ids"].as_array().map(Vec::len)
        ),
        (Some("DRAFT"), Some(bodies.len()))
    );
    let path = format!(
        "/v1/buckets/docs/batches/{}",
        made["batch_id"].as_str().unwrap()
    );
    let task = api.ok("POST", &format!("{path}/submit"), json!({"include_processing_history": true, "resources": {"0": {"memory_bytes": 100 << 20}}})).await;
    assert_eq!(task["task_type"], "api_buckets_batches_process");
    (path, objects, task["task_id"].as_str().unwrap().to_owned())
}

pub(crate) async fn reached(api: &Api, path: &str, status: &str) -> Value {
    eventually(status, || async {
        let batch = api.ok("GET", path, Value::Null).await;
        (batch["status"] == status).then_some(batch)
    })
    .await
}

/// What the performance pages and an estimate tell of the batch that has ended.
async fn told(api: &Api, path: &str) {
    let engine = "/v1/analytics/performance/engine";
    let overview = api.ok("GET", engine, Value::Null).await;
    let summary = &overview["summary"];
    assert_eq!(summary["total_executions"], 3);
    assert_eq!(summary["max_latency_ms"], 1_500.0);
    let availability = overview["service_health"]["availability"].as_f64().unwrap();
    assert!((availability - 2.0 / 3.0).abs() < 1e-9, "{overview:#}");
    let slow = api
        .ok("GET", &format!("{engine}/slow-operations"), Value::Null)
        .await;
    let operations = slow["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 1, "{slow:#}");
    assert_eq!(operations[0]["metadata"]["source_id"], "source 2");
    let stages = api
        .ok("GET", &format!("{engine}/stages"), Value::Null)
        .await;
    let names = stages["stages"].as_array().unwrap().iter();
    let names: Vec<&str> = names.filter_map(|it| it["stage_name"].as_str()).collect();
    assert!(
        names.contains(&"processing") && !names.contains(&"loading"),
        "{names:?}"
    );
    let estimate = api
        .ok("POST", &format!("{path}/estimate-cost"), Value::Null)
        .await;
    let seconds = estimate["estimated_compute_seconds"]["expected"].as_f64();
    assert!((seconds.unwrap() - 6.0).abs() < 1e-6, "{estimate:#}");
    // 3.60 dollars an hour are a tenth of a cent a second.
    assert!((estimate["estimated_usd"].as_f64().unwrap() - 0.006).abs() < 1e-9);
    assert!(
        (estimate["estimated_documents"]["expected"]
            .as_f64()
            .unwrap()
            - 2.0)
            .abs()
            < 1e-9
    );
    let id = path.rsplit('/').next().unwrap();
    let page = format!("/v1/analytics/performance/batches/{id}/diagnostics");
    let glance = api.ok("GET", &page, Value::Null).await;
    assert_eq!(
        (glance["health"].as_str(), glance["has_failures"].as_bool()),
        (Some("degraded"), Some(true))
    );
    assert_eq!(glance["tiers"][0]["progress"]["processed_documents"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_to_its_end_and_its_documents_are_found() {
    let api = Api::new().await;
    let (path, objects, task) = submitted(&api, &["the red car", "not text", "a green tree"]).await;
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.resources.memory_bytes, 100 << 20);
    assert_eq!(driver.beat().await["command"], "continue");
    let running = reached(&api, &path, "PROCESSING").await;
    assert_eq!(running["progress"]["current_stage"]["name"], "processing");
    api.refused(409, "DELETE", &path, Value::Null).await;
    api.refused(409, "POST", &format!("{path}/submit"), Value::Null)
        .await;
    driver
        .rows(vec![
            driver.document(0, "the red car"),
            driver.failure(1, &objects[1]),
            driver.document(2, "a green tree"),
        ])
        .await;
    driver.end(AttemptExit::Finished, driver.measured(&[2, 5, 1_500]));
    let batch = reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    let tier = &batch["tier_tasks"][0];
    assert_eq!(tier["status"], "COMPLETED_WITH_ERRORS");
    assert_eq!(
        (
            tier["ray_job_status"].as_str(),
            tier["submission_params"]["memory_bytes"].as_u64()
        ),
        (Some("SUCCEEDED"), Some(100 << 20))
    );
    assert_eq!(batch["failed_objects"][0]["object_id"], objects[1].as_str());
    assert_eq!(
        (
            batch["documents_written"].as_u64(),
            batch["progress"]["percent"].as_f64()
        ),
        (Some(2), Some(100.0))
    );
    assert_eq!(
        batch["progress"]["stage_history"][1]["duration_seconds"],
        0.8
    );
    let audit = api.ok("GET", &format!("{path}/audit"), Value::Null).await;
    assert_eq!(
        (
            audit["all_balanced"].as_bool(),
            audit["has_lost_objects"].as_bool()
        ),
        (Some(true), Some(false))
    );
    let failed = api
        .ok(
            "GET",
            &format!("{path}/failed-documents?tier_num=0&limit=5"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (
            failed["total"].as_u64(),
            failed["failed_documents"][0]["error_category"].as_str()
        ),
        (Some(1), Some("validation"))
    );
    let diagnosis = api
        .ok("GET", &format!("{path}/diagnose"), Value::Null)
        .await;
    assert_eq!(
        (
            diagnosis["failed_document_count"].as_u64(),
            diagnosis["per_tier"][0]["jobs"][0]["processed"].as_u64()
        ),
        (Some(1), Some(2))
    );
    let logs = api
        .ok(
            "GET",
            &format!("{path}/logs?tier_num=0&tail_bytes=20"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (
            logs["logs"][1]["log"].as_str(),
            logs["logs"][1]["is_cut"].as_bool()
        ),
        (Some("worker-0"), Some(true))
    );
    assert_eq!(
        api.ok("GET", &format!("/v1/tasks/{task}"), Value::Null)
            .await["status"],
        "COMPLETED_WITH_ERRORS"
    );
    let tasks = api
        .ok(
            "POST",
            "/v1/tasks/list",
            json!({"status": "COMPLETED_WITH_ERRORS"}),
        )
        .await;
    assert_eq!(tasks["results"][0]["task_id"], task.as_str());
    found(&api).await;
    told(&api, &path).await;
    let listed = api
        .ok(
            "POST",
            "/v1/buckets/docs/batches/list",
            json!({"status": "COMPLETED_WITH_ERRORS", "limit": 100, "offset": 0}),
        )
        .await;
    assert_eq!(listed["total_count"], 1);
    assert_eq!(
        api.ok("GET", "/v1/buckets/docs", Value::Null).await["batch_stats"]["completed"],
        1
    );
    api.ok("DELETE", &path, Value::Null).await;
    api.refused(404, "GET", &path, Value::Null).await;
}

async fn found(api: &Api) {
    let page = api
        .ok(
            "POST",
            "/v1/collections/chunks/documents/list",
            json!({"return_vectors": true, "include_total": true}),
        )
        .await;
    assert_eq!(
        (
            page["total_documents"].as_u64(),
            page["results"].as_array().map(Vec::len)
        ),
        (Some(2), Some(2))
    );
    assert_eq!(
        page["results"][0]["vectors"][LEXICAL_VECTOR]
            .as_array()
            .unwrap()
            .len(),
        384
    );
    let filtered = api
        .ok(
            "POST",
            "/v1/collections/chunks/documents/list",
            json!({"filters": {"field": "text", "operator": "contains", "value": "tree"}}),
        )
        .await;
    assert_eq!(filtered["results"][0]["text"], "a green tree");
    let search = json!({"collection_identifiers": ["chunks"], "inputs": {"query": "red car"}, "limit": 1, "stages": [{"stage_name": "s", "stage_type": "filter", "config": {"stage_id": "feature_search", "parameters": {"searches": [{"query": {"input_mode": "text", "value": "{{INPUT.query}}"}, "top_k": 5}], "final_top_k": 5}}}]});
    let answer = api.ok("POST", "/v1/retrievers/execute", search).await;
    assert_eq!(answer["documents"][0]["text"], "the red car");
    assert!(answer["documents"][0]["score"].as_f64().unwrap() > 0.3);
    let id = answer["documents"][0]["document_id"].as_str().unwrap();
    api.ok(
        "DELETE",
        &format!("/v1/collections/chunks/documents/{id}"),
        Value::Null,
    )
    .await;
    assert_eq!(
        api.ok("GET", "/v1/collections/chunks/documents/count", Value::Null)
            .await["count"],
        1
    );
}

pub(crate) fn out_of_memory(spec: &AttemptSpec) -> AttemptEvidence {
    let limit = spec.resources.memory_bytes;
    let death = WorkerDeath {
        worker: 0,
        pid: 77,
        exit: ProcessExit {
            code: None,
            signal: Some(9),
        },
        at: UnixMillis(1_700_000_100_900),
        started_at: UnixMillis(1_700_000_100_000),
        memory: MemoryEvidence {
            enforcement: MemoryEnforcement::CgroupV2,
            limit_bytes: Some(limit),
            peak_bytes: Some(limit),
            oom_kills: Some(1),
            limit_hits: Some(12),
            curve: vec![],
        },
        in_flight: Vec::<InFlightRow>::new(),
        last_finished_row: None,
        ready: false,
        cpu_ms: Some(300),
        cpu_ms_since_row: Some(300),
        io_bytes: None,
        io_bytes_since_row: None,
        last_finished_at: None,
        rows_finished: 0,
        log_tail: "loading".into(),
        log: None,
        kernel_lines: vec![],
        killed_by_driver: None,
        stuck: None,
        node: None,
    };
    AttemptEvidence {
        worker_deaths: vec![death.clone(), death.clone(), death],
        node: Some("here".into()),
        ..AttemptEvidence::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_that_ran_out_of_memory_is_explained_and_mended_by_the_recommended_call() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one", "two"]).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    let evidence = out_of_memory(&driver.spec);
    driver.end(AttemptExit::OutOfMemory, evidence);
    let batch = reached(&api, &path, "FAILED").await;
    assert_eq!(
        (batch["failure_category"].as_str(), batch["health"].as_str()),
        (Some("infrastructure"), Some("failed"))
    );
    assert_eq!(
        batch["tier_tasks"][0]["infrastructure_events"][0]["event_type"],
        "oom"
    );
    let diagnosis = api
        .ok("GET", &format!("{path}/diagnose"), Value::Null)
        .await;
    assert_eq!(diagnosis["failure_category"], "infrastructure");
    let event = &diagnosis["infrastructure_events"][0];
    assert_eq!(
        (
            event["event_type"].as_str(),
            event["tier_num"].as_u64(),
            event["attempt"].as_u64()
        ),
        (Some("oom"), Some(0), Some(1))
    );
    let action = &diagnosis["recommended_actions"][0];
    assert!(
        action["path"].as_str().unwrap().ends_with("/tiers/0/retry"),
        "{diagnosis:#}"
    );
    let wanted = action["body"]["memory_bytes"].as_u64().unwrap();
    assert!(wanted > 100 << 20);
    let answer = api
        .ok(
            action["method"].as_str().unwrap(),
            action["path"].as_str().unwrap(),
            action["body"].clone(),
        )
        .await;
    assert_eq!(answer["submission_params"]["memory_bytes"], wanted);
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.resources.memory_bytes, wanted);
    driver
        .rows(vec![driver.document(0, "one"), driver.document(1, "two")])
        .await;
    driver.end(AttemptExit::Finished, AttemptEvidence::default());
    let batch = reached(&api, &path, "COMPLETED").await;
    assert_eq!(
        (batch["retry_count"].as_u64(), &batch["failure_category"]),
        (Some(1), &Value::Null)
    );
    api.refused(
        409,
        "POST",
        &format!("{path}/tiers/0/retry"),
        json!({"priority": 50}),
    )
    .await;
    api.refused(404, "POST", &format!("{path}/tiers/9/retry"), Value::Null)
        .await;
    let heal = format!("{path}/tiers/0/heal");
    api.refused(422, "POST", &heal, json!({"action": "dance"}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_turns_late_reports_away() {
    let api = Api::new().await;
    let (path, _, task) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    let (status, _) = api
        .call_as(
            "wrong",
            None,
            "POST",
            &format!("/v1/internal/attempts/{}/rows", driver.spec.attempt_id),
            json!({"rows": []}),
        )
        .await;
    assert_eq!(status, 401);
    let answer = api
        .ok("POST", &format!("{path}/cancel?reason=enough"), Value::Null)
        .await;
    assert_eq!(
        (
            answer["task_id"].as_str(),
            answer["cancellation"]["ray_jobs_requested"].as_u64()
        ),
        (Some(task.as_str()), Some(1))
    );
    let batch = reached(&api, &path, "CANCELED").await;
    assert_eq!(batch["tier_tasks"][0]["ray_job_status"], "STOPPED");
    let (status, late) = driver
        .post(
            "rows",
            json!(RowsReport {
                rows: vec![driver.document(0, "late")]
            }),
        )
        .await;
    assert_eq!(
        (status, late["error"]["details"]["reason"].as_str()),
        (409, Some("superseded"))
    );
    let refused = api
        .refused(409, "POST", &format!("{path}/cancel"), Value::Null)
        .await;
    assert_eq!(refused["details"]["status"], "CANCELED");
    let tier = format!("{path}/tiers/0");
    api.refused(409, "POST", &format!("{tier}/cancel"), Value::Null)
        .await;
    api.refused(
        404,
        "POST",
        &format!("{tier}/jobs/job_nope/cancel"),
        Value::Null,
    )
    .await;
    let retried = api
        .ok(
            "POST",
            &format!("{tier}/retry"),
            json!({"requires_gpu": false, "priority": 50}),
        )
        .await;
    assert_eq!(
        retried["submission_params"],
        json!({"requires_gpu": false, "priority": 50})
    );
    let again = Driver::next(&api).await;
    let job = again.spec.job_id.to_string();
    let answer = api
        .ok(
            "POST",
            &format!("{tier}/jobs/{job}/cancel?reason=x"),
            Value::Null,
        )
        .await;
    assert_eq!(answer["ray_job_id"], job.as_str());
    reached(&api, &path, "CANCELED").await;
}
