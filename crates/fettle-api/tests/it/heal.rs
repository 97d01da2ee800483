//! Healing by hand: each action finds what is wrong, mends it once, and then finds nothing more to do.

use fettle_model::evidence::InFlightRow;
use fettle_model::{AttemptEvidence, AttemptExit, AttemptSpec, JobId, UnixMillis};
use fettle_ports::Run;
use serde_json::{Value, json};

use crate::executor::run_of;
use crate::harness::{Api, eventually};
use crate::run::{Driver, out_of_memory, reached, submitted};

/// Heals tier 0; the findings.
async fn heal(api: &Api, path: &str, action: &str, dry_run: bool) -> Vec<Value> {
    let body = json!({"action": action, "dry_run": dry_run});
    let healed = api.ok("POST", &format!("{path}/tiers/0/heal"), body).await;
    assert_eq!(healed["dry_run"], dry_run);
    healed["findings"].as_array().unwrap().clone()
}

/// What was found, what is done about it, and what came of it.
fn told(findings: &[Value]) -> Vec<[&str; 3]> {
    let words = |finding: &'_ Value, key: &str| -> &'static str {
        Box::leak(finding[key].as_str().unwrap().to_owned().into_boxed_str())
    };
    findings
        .iter()
        .map(|finding| ["kind", "action", "outcome"].map(|key| words(finding, key)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_that_is_well_has_nothing_to_heal_and_what_is_unknown_is_refused() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    for action in [
        "detect_stuck",
        "kill_duplicates",
        "sync_status",
        "adopt_orphans",
        "quarantine_poison",
        "auto",
    ] {
        assert_eq!(heal(&api, &path, action, false).await, Vec::<Value>::new());
    }
    let body = json!({"action": "pray"});
    let refused = api
        .refused(422, "POST", &format!("{path}/tiers/0/heal"), body)
        .await;
    assert!(refused.to_string().contains("quarantine_poison"));
    let body = json!({"action": "auto"});
    api.refused(404, "POST", &format!("{path}/tiers/7/heal"), body)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_of_an_attempt_is_ended_and_the_first_goes_on() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    api.executor.start_stray(Run {
        name: "twin".to_owned(),
        is_the_attempts: false,
        ..run_of(&driver.spec)
    });
    let would = heal(&api, &path, "kill_duplicates", true).await;
    assert_eq!(told(&would), [["duplicate", "end_run", "would_do"]]);
    assert_eq!(would[0]["age_seconds"], 5.0);
    assert_eq!(api.executor.strays().len(), 1, "a dry run does nothing");
    let done = heal(&api, &path, "kill_duplicates", false).await;
    assert_eq!(told(&done), [["duplicate", "end_run", "done"]]);
    assert!(api.executor.strays().is_empty());
    assert!(heal(&api, &path, "auto", false).await.is_empty());
    assert_eq!(api.executor.running().len(), 1);
    driver.rows(vec![driver.document(0, "one")]).await;
    driver.end(AttemptExit::Finished, AttemptEvidence::default());
    reached(&api, &path, "COMPLETED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_an_attempt_that_has_ended_and_one_that_nobody_planned_are_ended() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    driver.rows(vec![driver.document(0, "one")]).await;
    driver.end(AttemptExit::Finished, AttemptEvidence::default());
    reached(&api, &path, "COMPLETED").await;
    api.executor.start_stray(run_of(&driver.spec));
    let (job, _) = driver.spec.attempt_id.split().unwrap();
    api.executor
        .start_stray(run_of(&numbered(&driver.spec, &job, 9)));
    let findings = heal(&api, &path, "auto", false).await;
    // `auto` looks for orphans first.
    assert_eq!(
        told(&findings),
        [
            ["stray", "end_run", "done"],
            ["superseded", "end_run", "done"]
        ]
    );
    assert!(api.executor.strays().is_empty());
    assert!(heal(&api, &path, "auto", false).await.is_empty());
}

fn numbered(spec: &AttemptSpec, job: &JobId, number: u32) -> AttemptSpec {
    AttemptSpec {
        attempt_id: fettle_model::AttemptId::of(job, number),
        ..spec.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_by_itself_without_anybody_asking_is_ended_by_itself() {
    let api = Api::new().await;
    let (_, _, _) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    api.executor.start_stray(Run {
        name: "twin".to_owned(),
        is_the_attempts: false,
        ..run_of(&driver.spec)
    });
    eventually("the end of the twin", || async {
        api.executor.strays().is_empty().then_some(())
    })
    .await;
    assert_eq!(api.executor.running().len(), 1);
}

fn poisoned(spec: &AttemptSpec, rows: &[u32]) -> AttemptEvidence {
    let mut evidence = out_of_memory(spec);
    for death in &mut evidence.worker_deaths {
        death.ready = true;
        death.exit.signal = Some(11);
        death.memory.oom_kills = Some(0);
        death.memory.peak_bytes = Some(1 << 20);
        let held = |row: &u32| InFlightRow {
            row: *row,
            source_id: "x".to_owned(),
            size_bytes: 1,
            since: UnixMillis(1_700_000_100_100),
        };
        death.in_flight = rows.iter().map(held).collect();
    }
    evidence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_ended_every_worker_is_quarantined_and_the_rest_is_done() {
    let api = Api::new().await;
    let (path, objects, _) = submitted(&api, &["one", "poison", "three"]).await;
    let first = Driver::next(&api).await;
    first.rows(vec![first.document(0, "one")]).await;
    let evidence = poisoned(&first.spec, &[1]);
    first.end(AttemptExit::WorkersKeepDying, evidence);
    reached(&api, &path, "FAILED").await;
    let would = heal(&api, &path, "quarantine_poison", true).await;
    assert_eq!(told(&would), [["poison", "fail_rows", "would_do"]]);
    assert_eq!(would[0]["rows"], json!([1]));
    assert_eq!(would[0]["evidence"].as_array().unwrap().len(), 3);
    let done = heal(&api, &path, "quarantine_poison", false).await;
    assert_eq!(told(&done), [["poison", "fail_rows", "done"]]);
    let second = Driver::next(&api).await;
    assert_eq!(
        second.spec.pending.count(),
        1,
        "the poison is not tried again"
    );
    let again = heal(&api, &path, "auto", false).await;
    assert_eq!(
        again,
        Vec::<Value>::new(),
        "a second time nothing is left to do"
    );
    second.rows(vec![second.document(2, "three")]).await;
    second.end(AttemptExit::Finished, AttemptEvidence::default());
    let batch = reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    assert_eq!(batch["documents_written"], 2);
    let path = format!("{path}/failed-documents");
    let failed = api.ok("GET", &path, Value::Null).await;
    assert_eq!(failed["total"], 1, "{failed:#}");
    let row = &failed["failed_documents"][0];
    assert_eq!(row["document_id"], objects[1].as_str(), "{row:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn healing_by_itself_does_what_the_diagnosis_recommends_once() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one"]).await;
    let first = Driver::next(&api).await;
    first.end(AttemptExit::OutOfMemory, out_of_memory(&first.spec));
    reached(&api, &path, "FAILED").await;
    let would = heal(&api, &path, "auto", true).await;
    assert_eq!(told(&would), [["out_of_memory", "retry_tier", "would_do"]]);
    let done = heal(&api, &path, "auto", false).await;
    assert_eq!(told(&done), [["out_of_memory", "retry_tier", "ordered"]]);
    let second = Driver::next(&api).await;
    assert!(second.spec.resources.memory_bytes > first.spec.resources.memory_bytes);
    assert!(heal(&api, &path, "auto", false).await.is_empty());
}
