//! Many batches at once.

use serde_json::{Value, json};

use crate::harness::Api;

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_submitted_in_chunks_of_one_group() {
    let api = Api::new().await;
    let bulk = "/v1/buckets/docs/batches/bulk-submit";
    let (bucket, collection) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["a", "b", "c", "d", "e"]).await;
    let wanted = json!({"chunk_size": 2, "dedup_strategy": "skip", "collection_ids": ["chunks"]});
    let answer = api.ok("POST", bulk, wanted).await;
    assert_eq!(
        (
            &answer["total_objects"],
            &answer["submitted"],
            &answer["failed"]
        ),
        (&json!(5), &json!(3), &json!(0))
    );
    let mut seen = Vec::new();
    for batch in answer["batches"].as_array().unwrap() {
        assert_eq!(batch["status"], "QUEUED");
        let path = format!("/v1/batches/{}", batch["batch_id"].as_str().unwrap());
        let batch = api.ok("GET", &path, Value::Null).await;
        assert_eq!(batch["batch_group_id"], answer["batch_group_id"]);
        assert_eq!(batch["dedup_strategy"], "skip");
        assert_eq!(batch["collection_ids"], json!([collection]));
        seen.extend(batch["object_ids"].as_array().unwrap().clone());
    }
    assert_eq!(Value::Array(seen), json!(objects), "each once, in order");

    let answer = api
        .ok("POST", bulk, json!({"max_objects": 3, "chunk_size": 2}))
        .await;
    assert_eq!(
        (&answer["total_objects"], &answer["failed"]),
        (&json!(3), &json!(2)),
        "these objects are in flight"
    );
    let draft = &answer["batches"][1];
    assert_eq!(
        (&draft["status"], &draft["object_count"]),
        (&json!("DRAFT"), &json!(1))
    );
    let nothing = json!({"filters": {"field": "lang", "operator": "eq", "value": "fr"}});
    let answer = api.ok("POST", bulk, nothing).await;
    assert_eq!(answer["batches"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_submission_that_cannot_work_makes_nothing() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    api.objects(&bucket, &["a"]).await;
    api.ok(
        "POST",
        "/v1/buckets",
        json!({"bucket_name": "alone", "bucket_schema": {"properties": {"a": {"type": "text"}}}}),
    )
    .await;
    for (bucket, body) in [
        ("alone", json!({})),
        ("docs", json!({"chunk_size": 0})),
        ("docs", json!({"chunk_size": 50_001})),
        ("docs", json!({"max_objects": 0})),
        ("docs", json!({"dedup_strategy": "other"})),
    ] {
        let path = format!("/v1/buckets/{bucket}/batches/bulk-submit");
        api.refused(422, "POST", &path, body).await;
    }
    let listed = api.ok("POST", "/v1/batches/list", json!({})).await;
    assert_eq!(listed["total_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_drafts_are_submitted_and_one_that_cannot_be_does_not_keep_the_others() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["a", "b"]).await;
    let path = "/v1/buckets/docs/batches";
    for object in &objects {
        api.ok("POST", path, json!({"object_ids": [object]})).await;
    }
    api.ok("POST", path, json!({})).await;
    let answer = api
        .ok("POST", &format!("{path}/submit-all"), Value::Null)
        .await;
    assert_eq!(
        (&answer["total"], &answer["submitted"], &answer["failed"]),
        (&json!(3), &json!(2), &json!(1))
    );
    let empty = answer["batches"][2]["error"].as_str().unwrap();
    assert!(empty.contains("no objects"), "{empty}");
    let again = api
        .ok("POST", &format!("{path}/submit-all"), Value::Null)
        .await;
    assert_eq!(again["total"], 1, "the empty one is still a draft");
}
