//! The three stages together, against a `serve` that behaves well, is away, refuses, or has moved on.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use fettle_manifest::{ManifestRow, SourceKind};
use fettle_model::attempt::AccessPolicy;
use fettle_model::{
    CollectionId, ExtractorRef, ExtractorSource, JobId, ManifestRef, Resources, RowOutcome,
    RowRanges, Stage, TargetCollection,
};
use fettle_wire::internal::{RowReport, RowsReport};
use serde_json::{Map, Value, json};

use super::*;
use crate::extract::{Extractor, InputValue, Part, RowInput, RowResult};

/// Makes a document with the text, and does what some texts say.
struct Echo;

impl Extractor for Echo {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        rows.iter().map(echo).collect()
    }
}

fn echo(row: &RowInput) -> RowResult {
    let Some(InputValue::Text(text)) = row.inputs.get("text") else {
        return Ok(vec![]);
    };
    let text = match text.as_str() {
        "panic" => panic!("as the row says"),
        "large" => "x".repeat(17 << 20),
        text => text.to_owned(),
    };
    let fields = Map::from_iter([("echo".to_owned(), Value::from(text))]);
    Ok(vec![Part {
        index: 0,
        fields,
        vectors: vec![],
        artifacts: vec![],
    }])
}

type Taken = Arc<Mutex<Vec<RowReport>>>;

/// A `serve` that asks `judge` about each report and keeps those that are taken.
async fn serve(
    judge: impl Fn(&RowsReport) -> Option<Response> + Clone + Send + Sync + 'static,
) -> (String, Taken) {
    let taken = Taken::default();
    let kept = Arc::clone(&taken);
    let rows = move |body: Bytes| {
        let (judge, kept) = (judge.clone(), Arc::clone(&kept));
        async move {
            let report: RowsReport = serde_json::from_slice(&body).unwrap();
            if let Some(refusal) = judge(&report) {
                return refusal;
            }
            kept.lock().unwrap().extend(report.rows);
            Json(json!({"finished_rows": 0})).into_response()
        }
    };
    let router = Router::new().route("/v1/internal/attempts/{id}/rows", post(rows));
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), taken)
}

fn refusal(status: u16, reason: &str) -> Option<Response> {
    let body = json!({"success": false, "status": status, "error": {"type": "E", "message": "no", "details": {"reason": reason}}});
    Some((StatusCode::from_u16(status).unwrap(), Json(body)).into_response())
}

#[derive(Clone, Default)]
struct Frames(Arc<Mutex<Vec<u8>>>);

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Frames {
    fn read(&self) -> Vec<FromWorker> {
        let bytes = self.0.lock().unwrap().clone();
        let lines = String::from_utf8(bytes).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn row(number: RowNumber, text: &str) -> ManifestRow {
    ManifestRow {
        row: number,
        collection_id: "col_a".parse().unwrap(),
        source_kind: SourceKind::Object,
        source_id: format!("obj_{number}"),
        root_object_id: format!("obj_{number}"),
        source_collection_id: None,
        size_bytes: 0,
        fields: Map::from_iter([("text".to_owned(), Value::from(text))]),
        blobs: vec![],
    }
}

fn spec(url: &str, blobs: &Path, rows: u64) -> AttemptSpec {
    let job_id = JobId::from_entropy([3; 15]);
    let collection_id: CollectionId = "col_a".parse().unwrap();
    AttemptSpec {
        attempt_id: fettle_model::AttemptId::of(&job_id, 1),
        job_id,
        batch_id: "btch_a".parse().unwrap(),
        namespace_id: "ns_a".parse().unwrap(),
        tier_num: 0,
        control_url: url.to_owned(),
        control_url_file: None,
        blob_base: url::Url::from_directory_path(blobs).unwrap().to_string(),
        manifest: ManifestRef {
            key: "m.parquet".into(),
            rows,
            sizes: None,
            left_out: 0,
        },
        pending: RowRanges::below(rows as RowNumber),
        extractor: ExtractorRef {
            name: "echo".into(),
            version: "v1".into(),
            parameters: Map::new(),
        },
        extractor_source: ExtractorSource::Builtin,
        targets: vec![TargetCollection {
            collection_id,
            collection_name: "a".into(),
            input_mappings: Map::new(),
            field_passthrough: vec![],
            include_all_source_fields: false,
        }],
        resources: Resources {
            num_cpus: 1.0,
            num_gpus: 0.0,
            memory_bytes: 1 << 30,
            requires_gpu: false,
            priority: 0,
        },
        model_dir: None,
        access: AccessPolicy::default(),
        row_timeout_ms: None,
    }
}

/// Runs the stages over rows with these texts; the exit code and what was said.
async fn work(url: &str, texts: &[&str]) -> (u8, Vec<FromWorker>) {
    work_until(url, texts, ToWorker::End).await
}

async fn work_until(url: &str, texts: &[&str], last: ToWorker) -> (u8, Vec<FromWorker>) {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<_> = texts
        .iter()
        .zip(0..)
        .map(|(text, number)| row(number, text))
        .collect();
    std::fs::write(
        folder.path().join("m.parquet"),
        fettle_manifest::write(&rows).unwrap(),
    )
    .unwrap();
    std::fs::write(folder.path().join("token"), "secret").unwrap();
    let spec = Arc::new(spec(url, folder.path(), rows.len() as u64));
    let (ending, _ended) = mpsc::channel(1);
    let frames = Frames::default();
    let output = Arc::new(Output::new(frames.clone(), ending));
    let mut context = Context::open(&AttemptDir::new(folder.path()), spec, output)
        .await
        .unwrap();
    context.plan(&[]).unwrap();
    let engine = Engine {
        extractor: Box::new(Echo),
        declared: vec![],
        batch_rows: 4,
        component: "echo_v1".into(),
    };
    let (commands, received) = mpsc::unbounded_channel();
    commands
        .send(ToWorker::Run {
            rows: (0..rows.len() as RowNumber).rev().collect(),
        })
        .unwrap();
    commands.send(last).unwrap();
    let code = tokio::time::timeout(
        Duration::from_secs(60),
        pipeline(Arc::new(context), engine, received),
    )
    .await
    .unwrap();
    (code, frames.read())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_to_leave_does_what_it_is_at_and_lets_go_of_the_rest() {
    let (url, taken) = serve(|_| None).await;
    let texts = ["a"; 500];
    let (code, frames) = work_until(&url, &texts, ToWorker::Leave).await;
    assert_eq!(code, codes::FINISHED);
    let given = frames.iter().filter_map(|frame| match frame {
        FromWorker::Entered { rows, stage } if *stage == Stage::Processing => Some(rows),
        _ => None,
    });
    let given = given.flatten().map(|row| (*row, RowOutcome::Processed));
    let mut given: Vec<_> = given.collect();
    given.sort_unstable();
    assert_eq!(outcomes(&taken), given);
    assert!(given.len() < texts.len(), "{} rows", given.len());
}

fn outcomes(taken: &Taken) -> Vec<(RowNumber, RowOutcome)> {
    let mut outcomes: Vec<_> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|row| (row.row, row.outcome))
        .collect();
    outcomes.sort_unstable();
    outcomes
}

fn error_of(taken: &Taken, number: RowNumber) -> String {
    let taken = taken.lock().unwrap();
    let row = taken.iter().find(|row| row.row == number).unwrap();
    row.error.as_ref().unwrap().message.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_announced_before_each_step_and_finished_after_serve_has_it() {
    let (url, taken) = serve(|_| None).await;
    let (code, frames) = work(&url, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(code, codes::FINISHED);
    assert_eq!(
        outcomes(&taken),
        (0..5)
            .map(|row| (row, RowOutcome::Processed))
            .collect::<Vec<_>>()
    );
    let place = |is: &dyn Fn(&FromWorker) -> bool| frames.iter().position(is).unwrap();
    for row in 0..5 {
        let begun = place(&|frame| matches!(frame, FromWorker::Begun(begun) if begun.row == row));
        let entered = |at| {
            place(
                &|frame| matches!(frame, FromWorker::Entered { rows, stage } if rows.contains(&row) && *stage == at),
            )
        };
        let finished = place(
            &|frame| matches!(frame, FromWorker::Finished { rows } if rows.iter().any(|done| done.row == row && done.is_success)),
        );
        // The texts have one letter, of which the manifest says nothing.
        let sized = FromWorker::Sized { row, size_bytes: 1 };
        let steps = [
            begun,
            place(&|frame| *frame == sized),
            entered(Stage::Processing),
            entered(Stage::Writing),
            finished,
        ];
        assert!(steps.is_sorted(), "row {row}: {steps:?}");
    }
    let Some(FromWorker::Timings { stages, .. }) = frames.last() else {
        panic!("{frames:?}")
    };
    let told = frames.iter().rev().find_map(|frame| match frame {
        FromWorker::Timings { work, .. } => work.as_ref(),
        _ => None,
    });
    let work = told.unwrap();
    assert_eq!(
        (
            stages.loading.rows,
            stages.processing.rows,
            stages.writing.rows
        ),
        (5, 5, 5)
    );
    for stage in Stage::ALL {
        assert_eq!(work.get(stage).count(), 5, "{stage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_wait_while_serve_is_away() {
    let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let away = move |_: &RowsReport| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 | 1 => refusal(503, "starting"),
        2 => refusal(500, "broken"),
        _ => None,
    };
    let (url, taken) = serve(away).await;
    let (code, _) = work(&url, &["a", "b"]).await;
    assert_eq!((code, outcomes(&taken).len()), (codes::FINISHED, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_report_costs_only_the_row_to_blame() {
    let picky = |report: &RowsReport| {
        let is_bad = |row: &RowReport| row.row == 3 && row.outcome == RowOutcome::Processed;
        report
            .rows
            .iter()
            .any(is_bad)
            .then(|| refusal(422, ""))
            .flatten()
    };
    let (url, taken) = serve(picky).await;
    let (code, frames) = work(&url, &["a", "b", "c", "d", "e", "f"]).await;
    assert_eq!(code, codes::FINISHED);
    let expected: Vec<_> = (0..6)
        .map(|row| {
            (
                row,
                if row == 3 {
                    RowOutcome::Failed
                } else {
                    RowOutcome::Processed
                },
            )
        })
        .collect();
    assert_eq!(outcomes(&taken), expected);
    assert!(error_of(&taken, 3).contains("refused"));
    let failed = |frame: &FromWorker| matches!(frame, FromWorker::Finished { rows } if rows.iter().any(|row| row.row == 3 && !row.is_success));
    assert!(frames.iter().any(failed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_attempt_no_longer_counts_ends() {
    let (url, taken) = serve(|_| refusal(409, "superseded")).await;
    let (code, frames) = work(&url, &["a"]).await;
    assert_eq!((code, outcomes(&taken).len()), (codes::SUPERSEDED, 0));
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, FromWorker::Superseded { .. }))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serve_that_takes_nothing_at_all_is_the_end() {
    let (url, _) = serve(|_| refusal(401, "")).await;
    let (code, frames) = work(&url, &["a"]).await;
    assert_eq!(code, codes::ENVIRONMENT_FAILED);
    assert!(frames.iter().any(|frame| matches!(
        frame,
        FromWorker::Fatal {
            cause: FatalCause::Environment,
            ..
        }
    )));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_panic_or_make_too_much_fail_alone() {
    let (url, taken) = serve(|_| None).await;
    let (code, _) = work(&url, &["a", "panic", "large", "b"]).await;
    assert_eq!(code, codes::FINISHED);
    let failed: Vec<_> = outcomes(&taken)
        .into_iter()
        .filter(|(_, outcome)| *outcome == RowOutcome::Failed)
        .map(|(row, _)| row)
        .collect();
    assert_eq!(failed, [1, 2]);
    assert!(error_of(&taken, 1).contains("panicked"));
    assert!(error_of(&taken, 2).contains("a row may take"));
}
