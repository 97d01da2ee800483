//! Objects that are known already: unique keys with their policies, and the same blobs again.

use serde_json::{Value, json};

use crate::harness::Api;

async fn keyed_bucket(api: &Api, policy: Value) -> String {
    let schema = json!({"properties": {"sku": {"type": "string"}, "price": {"type": "integer"}, "body": {"type": "text"}}});
    let key = json!({"fields": ["sku"], "default_policy": policy});
    let body = json!({"bucket_name": "goods", "bucket_schema": schema, "unique_key": key});
    let bucket = api.ok("POST", "/v1/buckets", body).await;
    let id = bucket["bucket_id"].as_str().unwrap();
    format!("/v1/buckets/{id}")
}

#[tokio::test]
async fn an_upsert_takes_the_place_of_the_object_with_its_key() {
    let api = Api::new().await;
    let bucket = keyed_bucket(&api, json!("upsert")).await;
    let path = format!("{bucket}/objects");
    let first = api.ok("POST", &path, json!({"sku": "a", "price": 1})).await;
    let second = api.ok("POST", &path, json!({"sku": "a", "price": 2})).await;
    assert_eq!(first["object_id"], second["object_id"]);
    assert_eq!(second["price"], 2);
    assert_eq!(api.ok("GET", &bucket, Value::Null).await["object_count"], 1);
    let refused = format!("{path}?policy=insert");
    let error = api
        .refused(409, "POST", &refused, json!({"sku": "a"}))
        .await;
    assert_eq!(error["type"], "AlreadyExistsError");
    let update = format!("{path}?policy=update");
    api.refused(404, "POST", &update, json!({"sku": "b"})).await;
}

#[tokio::test]
async fn a_change_may_not_take_another_object_s_key() {
    let api = Api::new().await;
    let bucket = keyed_bucket(&api, Value::Null).await;
    let path = format!("{bucket}/objects");
    api.ok("POST", &path, json!({"sku": "a"})).await;
    let other = api.ok("POST", &path, json!({"sku": "b", "price": 3})).await;
    let other = format!("{path}/{}", other["object_id"].as_str().unwrap());
    api.refused(409, "PATCH", &other, json!({"sku": "a"})).await;
    let patched = api.ok("PATCH", &other, json!({"price": null})).await;
    assert_eq!(patched["sku"], "b");
    let put = api.ok("PUT", &other, json!({"sku": "c"})).await;
    assert_eq!(put["sku"], "c");
    assert_eq!(put.get("price"), None, "PUT sets all fields");
}

#[tokio::test]
async fn the_same_blobs_are_recognised_whoever_made_the_first() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    let path = format!("/v1/buckets/{bucket}/objects");
    let blobs = json!([{"property": "body", "type": "text", "data": "x"}]);
    let first = api.ok("POST", &path, json!({"blobs": blobs})).await;
    let again = json!({"blobs": blobs, "skip_duplicates": true});
    let again = api.ok("POST", &path, again).await;
    assert_eq!(again["object_id"], first["object_id"]);
    assert_eq!(again["replayed_by"], "skip_duplicates");
    let forced = api.ok("POST", &path, json!({"blobs": blobs})).await;
    assert_ne!(forced["object_id"], first["object_id"]);
}

#[tokio::test]
async fn a_schema_that_objects_may_not_fit_needs_force() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    api.objects(&bucket, &["x"]).await;
    let path = format!("/v1/buckets/{bucket}");
    let schema = json!({"bucket_schema": {"properties": {"body": {"type": "image"}}}});
    let error = api.refused(409, "PUT", &path, schema.clone()).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("`lang` is gone"),
        "{error:#}"
    );
    let forced = format!("{path}?force_schema_break=true");
    api.ok("PUT", &forced, schema).await;
    let key = json!({"unique_key": {"fields": ["body"]}});
    api.refused(409, "PATCH", &path, key).await;
}

#[tokio::test]
async fn a_namespace_counts_what_it_holds() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    api.objects(&bucket, &["x", "y"]).await;
    let stats = api
        .ok("GET", "/v1/namespaces/default/stats", Value::Null)
        .await;
    let counts = [
        "bucket_count",
        "collection_count",
        "object_count",
        "document_count",
    ];
    assert_eq!(
        counts.map(|name| stats[name].as_u64().unwrap()),
        [1, 1, 2, 0]
    );
}
