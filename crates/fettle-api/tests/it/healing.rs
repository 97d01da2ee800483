//! Healing policies: which is in force, and what `auto` does by itself.

use fettle_model::{AttemptEvidence, AttemptExit, DocumentErrorClass};
use serde_json::{Value, json};

use crate::harness::{Api, eventually};
use crate::run::{Driver, out_of_memory, reached, submitted};

const BUCKET: &str = "/v1/buckets/docs";
const NAMESPACE: &str = "/v1/namespaces/default";

async fn set(api: &Api, path: &str, healing: Value) -> Value {
    api.ok("PATCH", path, json!({"healing": healing})).await
}

async fn mode(api: &Api, path: &str) -> Value {
    api.ok("GET", path, Value::Null).await["healing"]["mode"].clone()
}

/// The next attempt, once the back-off is over by the clock of the tests, which only steps when it is looked at.
async fn after_backoff(api: &Api) -> Driver<'_> {
    eventually("the end of a back-off", || async {
        for _ in 0..100 {
            api.control.clock().now();
        }
        api.executor.running().into_iter().next()
    })
    .await;
    Driver::next(api).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_policy_is_in_force_also_for_a_batch_that_runs() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one"]).await;
    assert_eq!(mode(&api, &path).await, "suggest", "the default");
    set(&api, NAMESPACE, json!({"mode": "auto"})).await;
    assert_eq!(mode(&api, &path).await, "auto");
    let bucket = set(&api, BUCKET, json!({"mode": "off"})).await;
    assert_eq!(bucket["healing"], json!({"mode": "off"}));
    assert_eq!(mode(&api, &path).await, "off");
    let own = json!({"mode": "auto", "budgets": {"driver_died": 1}});
    let batch = set(&api, &path, own.clone()).await;
    assert_eq!(batch["healing"], own);
    assert_eq!(batch["max_node_death_resubmits"], 1);
    set(&api, &path, Value::Null).await;
    assert_eq!(mode(&api, &path).await, "off");
    set(&api, BUCKET, Value::Null).await;
    let renamed = json!({"description": "a change that says nothing of healing"});
    api.ok("PATCH", NAMESPACE, renamed).await;
    assert_eq!(mode(&api, &path).await, "auto");
    let bad = json!({"healing": {"mode": "sometimes"}});
    let refused = api.refused(422, "PATCH", BUCKET, bad).await;
    assert!(refused.to_string().contains("suggest"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_auto_a_tier_that_ran_out_of_memory_completes_by_itself() {
    let api = Api::new().await;
    let (path, _, _) = submitted(&api, &["one", "two"]).await;
    set(&api, BUCKET, json!({"mode": "auto"})).await;
    let first = Driver::next(&api).await;
    first.beat().await;
    first.rows(vec![first.document(0, "one")]).await;
    first.end(AttemptExit::OutOfMemory, out_of_memory(&first.spec));
    let second = after_backoff(&api).await;
    assert_ne!(second.spec.attempt_id, first.spec.attempt_id);
    let raised = second.spec.resources.memory_bytes;
    assert!(raised > first.spec.resources.memory_bytes, "{raised}");
    assert_eq!(second.spec.pending.count(), 1, "what is done is kept");
    second.rows(vec![second.document(1, "two")]).await;
    second.end(AttemptExit::Finished, AttemptEvidence::default());
    let batch = reached(&api, &path, "COMPLETED").await;
    let tier = &batch["tier_tasks"][0];
    assert_eq!(tier["retry_count"], 1);
    assert_eq!(tier["retry_reason"], "workers ran out of memory");
    assert_eq!(tier["kept_work"]["rows"], 1);
    assert_eq!(tier["submission_params"]["memory_bytes"], raised);
    let budgets = tier["extractor_jobs"][0]["budgets"].as_array().unwrap();
    let spent = budgets.iter().find(|b| b["cause"] == "out_of_memory");
    assert_eq!(spent.unwrap()["spent"], 1);
    let diagnosis = api
        .ok("GET", &format!("{path}/diagnose"), Value::Null)
        .await;
    let told: Vec<&str> = diagnosis["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["kind"] == "remedy")
        .filter_map(|line| line["message"].as_str())
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].ends_with("worked"), "{told:?}");

    // What was learned is shown with the next recommendation.
    set(&api, BUCKET, json!({"mode": "suggest"})).await;
    let objects = batch["object_ids"].clone();
    let body = json!({"object_ids": objects, "auto_submit": true});
    let next = api.ok("POST", &format!("{BUCKET}/batches"), body).await;
    let path = format!("{BUCKET}/batches/{}", next["batch_id"].as_str().unwrap());
    let third = Driver::next(&api).await;
    third.end(AttemptExit::OutOfMemory, out_of_memory(&third.spec));
    reached(&api, &path, "FAILED").await;
    let diagnosis = api
        .ok("GET", &format!("{path}/diagnose"), Value::Null)
        .await;
    let action = &diagnosis["recommended_actions"][0];
    assert_eq!(
        action["track_record"],
        json!({"worked": 1, "failed": 0}),
        "{action:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stopped_when_more_rows_fail_than_the_policy_allows() {
    let api = Api::new().await;
    let (path, objects, _) = submitted(&api, &["one", "two", "three"]).await;
    let limit = json!({"mode": "suggest", "failed_percent_max": 30.0});
    set(&api, &path, limit).await;
    let driver = Driver::next(&api).await;
    driver.beat().await;
    let rows = vec![driver.document(0, "one"), driver.failure(1, &objects[1])];
    driver.rows(rows).await;
    let batch = reached(&api, &path, "FAILED").await;
    let error = batch["error"].as_str().unwrap();
    assert!(error.contains("1 of 3 row(s) failed"), "{error}");
    assert_eq!(batch["documents_written"], 1, "what is done is kept");
    assert!(api.executor.running().is_empty(), "the driver was stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_auto_rows_whose_error_may_pass_are_tried_again_and_others_are_not() {
    let api = Api::new().await;
    let (path, objects, _) = submitted(&api, &["one", "two", "three"]).await;
    set(&api, BUCKET, json!({"mode": "auto"})).await;
    let first = Driver::next(&api).await;
    let mut passing = first.failure(1, &objects[1]);
    passing.error.as_mut().unwrap().class = DocumentErrorClass::Transient;
    let lasting = first.failure(2, &objects[2]);
    first
        .rows(vec![first.document(0, "one"), passing, lasting])
        .await;
    first.end(AttemptExit::Finished, AttemptEvidence::default());
    let second = after_backoff(&api).await;
    assert_eq!(second.spec.pending.count(), 1);
    second.rows(vec![second.document(1, "two")]).await;
    second.end(AttemptExit::Finished, AttemptEvidence::default());
    let batch = reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    assert_eq!(batch["documents_written"], 2);
    let tier = &batch["tier_tasks"][0];
    assert_eq!(tier["retry_reason"], "rows failed of what may pass");
    assert_eq!(tier["kept_work"]["rows"], 2);
}
