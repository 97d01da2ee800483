//! Failed documents of a batch, tried again.

use fettle_model::{AttemptEvidence, AttemptExit, DocumentErrorClass};
use serde_json::{Value, json};

use crate::harness::Api;
use crate::run::{Driver, reached, submitted};

impl Driver<'_> {
    /// Ends the attempt after these rows failed, and all others of it went well.
    async fn end_with(&self, rows: &[u32], failed: &[(u32, &str, DocumentErrorClass)]) {
        let mut reports: Vec<_> = rows.iter().map(|row| self.document(*row, "text")).collect();
        for (row, source, class) in failed {
            let mut report = self.failure(*row, source);
            report.error.as_mut().unwrap().class = *class;
            reports.push(report);
        }
        self.rows(reports).await;
        self.end(AttemptExit::Finished, AttemptEvidence::default());
    }
}

async fn counts(api: &Api, path: &str) -> (u64, u64, bool) {
    let audit = api.ok("GET", &format!("{path}/audit"), Value::Null).await;
    let tier = &audit["tiers"][0];
    (
        tier["processed"].as_u64().unwrap(),
        tier["failed"].as_u64().unwrap(),
        audit["all_balanced"].as_bool().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_documents_are_retried_by_class_by_id_and_not_without_end() {
    use DocumentErrorClass::{Permanent, Transient};
    let api = Api::new().await;
    let (path, objects, task) = submitted(&api, &["a", "b", "c", "d"]).await;
    let retry = format!("{path}/retry");
    api.refused(409, "POST", &retry, json!({})).await;
    let driver = Driver::next(&api).await;
    let failed = [
        (1, objects[1].as_str(), Transient),
        (2, objects[2].as_str(), Permanent),
        (3, objects[3].as_str(), Transient),
    ];
    driver.end_with(&[0], &failed).await;
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;

    let answer = api.ok("POST", &retry, json!({})).await;
    assert_eq!(answer["retry_mode"], "transient_only");
    assert_eq!(answer["task_id"], task.as_str());
    assert_eq!(
        answer["tiers"],
        json!([{"tier_num": 0, "documents_retried": 2, "documents_exhausted": 0}])
    );
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.pending.count(), 2);
    driver.end_with(&[1], &failed[2..]).await;
    let batch = reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    assert_eq!(batch["failed_object_count"], 2);
    assert_eq!(counts(&api, &path).await, (2, 2, true));
    let failures = format!("{path}/failed-documents");
    let page = api.ok("GET", &failures, Value::Null).await;
    let told = page["failed_documents"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|it| (&it["document_id"], &it["retry_count"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!(objects[2]), &json!(0)),
            (&json!(objects[3]), &json!(1))
        ]
    );

    let spent = json!({"max_retry_count": 1});
    let refused = api.refused(409, "POST", &retry, spent).await;
    assert_eq!(refused["details"]["status"], "COMPLETED_WITH_ERRORS");
    let both = json!({"retry_mode": "all", "max_retry_count": 1, "tier_nums": [0]});
    let answer = api.ok("POST", &retry, both).await;
    assert_eq!(
        (
            answer["documents_retried"].as_u64(),
            answer["documents_exhausted"].as_u64()
        ),
        (Some(1), Some(1))
    );
    let driver = Driver::next(&api).await;
    driver.end_with(&[], &failed[1..2]).await;
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;

    let one = json!({"retry_mode": "all", "document_ids": [objects[3], "obj_nope"]});
    assert_eq!(api.ok("POST", &retry, one).await["documents_retried"], 1);
    let driver = Driver::next(&api).await;
    driver.end_with(&[3], &[]).await;
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    assert_eq!(counts(&api, &path).await, (3, 1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_does_not_fit_is_refused_by_its_field() {
    let api = Api::new().await;
    let (path, objects, _) = submitted(&api, &["a"]).await;
    let driver = Driver::next(&api).await;
    let failed = [(0, objects[0].as_str(), DocumentErrorClass::Permanent)];
    driver.end_with(&[], &failed).await;
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    for (body, field) in [
        (json!({"retry_mode": "some"}), "retry_mode"),
        (json!({"max_retry_count": 11}), "max_retry_count"),
        (json!({"tier_nums": [1]}), "tier_nums"),
        (json!({"tier_nums": []}), "tier_nums"),
        (json!({"document_ids": []}), "document_ids"),
        (json!({"mode": "all"}), "mode"),
    ] {
        let error = api
            .refused(422, "POST", &format!("{path}/retry"), body)
            .await;
        let location = &error["details"]["validation_errors"][0]["location"];
        assert_eq!(location[1], field, "{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_resubmitted_at_once_or_held_until_it_is_submitted() {
    let api = Api::new().await;
    let (path, objects, task) = submitted(&api, &["a", "b"]).await;
    let resubmit = format!("{path}/resubmit");
    let refused = api.refused(409, "POST", &resubmit, Value::Null).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("cancel it first")
    );
    let driver = Driver::next(&api).await;
    let failed = [(1, objects[1].as_str(), DocumentErrorClass::Permanent)];
    driver.end_with(&[0], &failed).await;
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;

    let answer = api.ok("POST", &resubmit, Value::Null).await;
    assert_eq!(
        (
            answer["from_tier"].as_u64(),
            answer["auto_submit"].as_bool()
        ),
        (Some(0), Some(true))
    );
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.pending.count(), 2, "all of it");
    driver.end_with(&[0, 1], &[]).await;
    reached(&api, &path, "COMPLETED").await;
    assert_eq!(counts(&api, &path).await, (2, 0, true));

    let held = api
        .ok(
            "POST",
            &format!("{resubmit}?auto_submit=false"),
            json!({"trigger_processing": true}),
        )
        .await;
    assert_eq!(held["status"], "DRAFT");
    let batch = api.ok("GET", &path, Value::Null).await;
    assert!(
        batch["status_message"]
            .as_str()
            .unwrap()
            .starts_with("held")
    );
    assert_eq!(batch["tier_tasks"][0]["status"], "PENDING");
    let more = json!({"object_ids": objects});
    api.refused(409, "POST", &format!("{path}/objects"), more)
        .await;
    api.refused(409, "POST", &format!("{path}/cancel"), Value::Null)
        .await;
    api.refused(409, "POST", &format!("{path}/retry"), json!({}))
        .await;
    api.refused(404, "POST", &format!("{resubmit}?from_tier=1"), Value::Null)
        .await;
    let submit = format!("{path}/submit");
    let other = json!({"collection_ids": ["chunks"]});
    api.refused(409, "POST", &submit, other).await;
    let odd = json!({"resources": {"1": {"memory_bytes": 200 << 20}}});
    api.refused(422, "POST", &submit, odd).await;
    let more = json!({"resources": {"0": {"memory_bytes": 200 << 20}}});
    let answer = api.ok("POST", &submit, more).await;
    assert_eq!(answer["task_id"], task.as_str());
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.resources.memory_bytes, 200 << 20);
    driver.end_with(&[0, 1], &[]).await;
    reached(&api, &path, "COMPLETED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_of_a_batch_are_deleted_when_it_rests() {
    let api = Api::new().await;
    let (path, objects, _) = submitted(&api, &["a", "b", "c"]).await;
    let documents = format!("{path}/documents");
    api.refused(409, "DELETE", &documents, Value::Null).await;
    let driver = Driver::next(&api).await;
    let failed = [(2, objects[2].as_str(), DocumentErrorClass::Permanent)];
    driver.end_with(&[0, 1], &failed).await;
    reached(&api, &path, "COMPLETED_WITH_ERRORS").await;
    let answer = api.ok("DELETE", &documents, Value::Null).await;
    assert_eq!(answer["deleted_count"], 2);
    let count = "/v1/collections/chunks/documents/count";
    assert_eq!(api.ok("GET", count, Value::Null).await["count"], 0);
    let batch = api.ok("GET", &path, Value::Null).await;
    assert_eq!(
        (
            batch["documents_deleted"].as_u64(),
            batch["documents_written"].as_u64(),
            batch["documents_resolvable"].as_bool()
        ),
        (Some(2), Some(2), Some(true))
    );
    assert_eq!(
        api.ok("DELETE", &documents, Value::Null).await["deleted_count"],
        0
    );
}
