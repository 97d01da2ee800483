//! Objects that were brought to a collection before: skipped, replaced, or in flight.

use fettle_model::report::RowReport;
use fettle_model::{AttemptEvidence, AttemptExit, DocumentId};
use serde_json::{Value, json};

use crate::harness::Api;
use crate::run::{Driver, reached};

impl Driver<'_> {
    /// Every row of the attempt becomes the document that a worker would make of it.
    async fn finish(&self, sources: &[(u32, &str)]) {
        let collection = &self.spec.targets[0].collection_id;
        let rows = sources.iter().map(|(row, source)| {
            let mut report = self.document(*row, "text");
            let document = &mut report.documents[0];
            document.id = DocumentId::of_part(collection, source, 0);
            document.payload["_internal"]["source_id"] = json!(source);
            report
        });
        self.rows(rows.collect()).await;
        self.end(AttemptExit::Finished, AttemptEvidence::default());
    }
}

async fn draft(api: &Api, objects: &[String], strategy: &str) -> String {
    let body = json!({"object_ids": objects, "dedup_strategy": strategy});
    let made = api.ok("POST", "/v1/buckets/docs/batches", body).await;
    format!("/v1/batches/{}", made["batch_id"].as_str().unwrap())
}

async fn submit(api: &Api, path: &str) {
    api.ok("POST", &format!("{path}/submit"), Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_with_documents_are_skipped_and_told() {
    let api = Api::new().await;
    let (bucket, collection) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["a", "b", "c"]).await;
    let first = draft(&api, &objects[..2], "skip").await;
    submit(&api, &first).await;
    let driver = Driver::next(&api).await;
    driver.finish(&[(0, &objects[0]), (1, &objects[1])]).await;
    let batch = reached(&api, &first, "COMPLETED").await;
    assert_eq!(batch["dedup_audit"][&collection]["skipped"], 0);

    let second = draft(&api, &objects, "skip").await;
    submit(&api, &second).await;
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.pending.count(), 1, "only the new one");
    driver.finish(&[(2, &objects[2])]).await;
    let batch = reached(&api, &second, "COMPLETED").await;
    let audit = &batch["dedup_audit"][&collection];
    assert_eq!(
        (
            &audit["total_input"],
            &audit["skipped"],
            &audit["processed"]
        ),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!(audit["skipped_object_ids"], json!(objects[..2]));
    let tier = &batch["tier_tasks"][0]["audit"];
    assert_eq!(
        (&tier["skipped"], &tier["balanced"]),
        (&json!(2), &json!(true))
    );

    let third = draft(&api, &objects, "skip").await;
    submit(&api, &third).await;
    reached(&api, &third, "COMPLETED").await;
    let fourth = draft(&api, &objects[..1], "force").await;
    let batch = api.ok("GET", &fourth, Value::Null).await;
    assert_eq!(batch["effective_dedup_strategy"], "replace");
    submit(&api, &fourth).await;
    let driver = Driver::next(&api).await;
    assert_eq!(driver.spec.pending.count(), 1, "not skipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_flight_are_not_sent_twice_but_by_force() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["a", "b", "c"]).await;
    let first = draft(&api, &objects[..2], "replace").await;
    submit(&api, &first).await;
    let other = draft(&api, &objects[2..], "replace").await;
    submit(&api, &other).await;
    let second = draft(&api, &objects[1..2], "replace").await;
    let path = format!("{second}/submit");
    let refused = api.refused(409, "POST", &path, Value::Null).await;
    let told = refused["message"].as_str().unwrap();
    assert!(told.contains(first.rsplit('/').next().unwrap()), "{told}");
    api.ok("POST", &format!("{path}?force=true"), Value::Null)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_which_nothing_is_made_any_more_keeps_no_documents() {
    let api = Api::new().await;
    let (bucket, collection) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["a", "b"]).await;
    let first = draft(&api, &objects, "replace").await;
    submit(&api, &first).await;
    let driver = Driver::next(&api).await;
    driver.finish(&[(0, &objects[0]), (1, &objects[1])]).await;
    reached(&api, &first, "COMPLETED").await;

    let second = draft(&api, &objects[..1], "replace").await;
    submit(&api, &second).await;
    let driver = Driver::next(&api).await;
    let empty = RowReport {
        source_id: Some(objects[0].clone()),
        documents: vec![],
        ..driver.document(0, "")
    };
    driver.rows(vec![empty]).await;
    driver.end(AttemptExit::Finished, AttemptEvidence::default());
    let batch = reached(&api, &second, "COMPLETED").await;
    assert_eq!(batch["documents_deleted"], 1, "{batch:#}");
    let path = format!("/v1/collections/{collection}/documents/count");
    let left = api.ok("GET", &path, Value::Null).await;
    assert_eq!(left["count"], 1, "{left:#}");
}
