//! Every refusal comes in the one envelope: a table of requests and what they are answered with.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::harness::{Api, json_of};

/// Ids of 24 characters and fault ids differ from run to run.
fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let mut words: Vec<String> = Vec::new();
            for word in text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
                let bare =
                    word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let is_id = bare
                    .split_once('_')
                    .is_some_and(|(_, rest)| rest.len() == 24 || bare.starts_with("fault_"));
                words.push(if is_id {
                    word.replace(bare, "[id]")
                } else {
                    word.to_owned()
                });
            }
            Value::from(words.concat())
        }
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), redacted(value)))
            .collect(),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_one_form() {
    let api = Api::new().await;
    let (bucket, collection) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["one"]).await;
    let batch = api
        .ok(
            "POST",
            &format!("/v1/buckets/{bucket}/batches"),
            json!({"object_ids": objects}),
        )
        .await;
    let batch = batch["batch_id"].as_str().unwrap();
    let none = Value::Null;
    let of_batch = format!("/v1/buckets/docs/batches/{batch}");
    let table = [
        ("GET", "/v1/nothing".to_owned(), none.clone()),
        ("PUT", "/v1/buckets".to_owned(), none.clone()),
        ("GET", "/v1/buckets/nope".to_owned(), none.clone()),
        ("GET", "/v1/collections/nope".to_owned(), none.clone()),
        (
            "GET",
            "/v1/buckets/docs/objects/nope".to_owned(),
            none.clone(),
        ),
        ("GET", "/v1/batches/btch_nope".to_owned(), none.clone()),
        ("GET", "/v1/tasks/task_nope".to_owned(), none.clone()),
        (
            "GET",
            format!("/v1/collections/{collection}/documents/doc_nope"),
            none.clone(),
        ),
        (
            "GET",
            "/v1/collections/features/extractors/nope_v1".to_owned(),
            none.clone(),
        ),
        (
            "POST",
            "/v1/buckets".to_owned(),
            json!({"bucket_name": "docs", "bucket_schema": {"properties": {"a": {"type": "text"}}}}),
        ),
        (
            "POST",
            "/v1/buckets".to_owned(),
            json!({"bucket_name": "x"}),
        ),
        (
            "POST",
            "/v1/buckets".to_owned(),
            json!({"bucket_name": 3, "bucket_schema": {}}),
        ),
        (
            "POST",
            "/v1/buckets".to_owned(),
            json!({"bucket_name": "x", "bucket_schema": {"properties": {}}, "storage_class": "archive"}),
        ),
        ("POST", "/v1/buckets".to_owned(), none.clone()),
        ("GET", "/v1/buckets?limit=5000".to_owned(), none.clone()),
        ("GET", "/v1/buckets?limit=x".to_owned(), none.clone()),
        (
            "POST",
            "/v1/buckets/docs/objects".to_owned(),
            json!({"lang": "en"}),
        ),
        (
            "POST",
            "/v1/buckets/docs/objects".to_owned(),
            json!({"blobs": [{"property": "body", "type": "text", "data": "file:///etc/passwd"}]}),
        ),
        (
            "POST",
            "/v1/collections".to_owned(),
            json!({"collection_name": "x y", "source": {"type": "bucket", "bucket_ids": ["docs"]}, "feature_extractor": {"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": {"txt": "body"}}}),
        ),
        (
            "POST",
            "/v1/collections".to_owned(),
            json!({"collection_name": "abc", "source": {"type": "bucket", "bucket_ids": ["docs"]}, "feature_extractor": {"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": {"text": "body"}, "parameters": {"chunk_size": 0}}}),
        ),
        (
            "POST",
            "/v1/collections".to_owned(),
            json!({"collection_name": "abc", "source": {"type": "bucket", "bucket_ids": ["nope"]}}),
        ),
        (
            "POST",
            "/v1/buckets/docs/batches".to_owned(),
            json!({"object_ids": ["obj_nope"]}),
        ),
        (
            "POST",
            format!("{of_batch}/submit"),
            json!({"webhook_url": "ftp://x"}),
        ),
        (
            "POST",
            format!("{of_batch}/submit"),
            json!({"resources": {"0": {"memory_bytes": 1}}}),
        ),
        (
            "POST",
            format!("{of_batch}/submit"),
            json!({"resources": {"7": {}}}),
        ),
        ("POST", format!("{of_batch}/cancel"), none.clone()),
        ("POST", format!("{of_batch}/tiers/0/retry"), none.clone()),
        ("GET", format!("{of_batch}/logs"), none.clone()),
        ("POST", format!("{of_batch}/tiers/x/cancel"), none.clone()),
        (
            "POST",
            "/v1/retrievers/execute".to_owned(),
            json!({"collection_identifiers": ["nope"], "stages": [{"type": "feature_search", "query": "x"}]}),
        ),
        ("DELETE", "/v1/namespaces/default".to_owned(), none.clone()),
        ("DELETE", "/v1/buckets/docs".to_owned(), none.clone()),
    ];
    let mut told = String::new();
    for (method, path, body) in table {
        let (status, answer) = api.call(method, &path, body.clone()).await;
        assert_eq!(answer["status"], status, "{method} {path}: {answer:#}");
        let shown = redacted(&json!([path, body, answer["error"]]));
        let (path, body, error) = (shown[0].as_str().unwrap(), &shown[1], &shown[2]);
        let body = if body.is_null() {
            String::new()
        } else {
            format!(" {body}")
        };
        told.push_str(&format!("{method} {path}{body}\n  {status} {error}\n"));
    }
    insta::assert_snapshot!(told);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_needed_and_answers_carry_a_request_id() {
    let api = Api::new().await;
    let plain = |path: &str| {
        Request::builder()
            .uri(path.to_owned())
            .body(Body::empty())
            .unwrap()
    };
    let response = api.send(plain("/v1/buckets")).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert!(
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
    let (status, answer) = api
        .call_as("fk_wrong", None, "GET", "/v1/buckets", Value::Null)
        .await;
    assert_eq!(
        (status, answer["error"]["type"].as_str()),
        (401, Some("UnauthorizedError"))
    );
    for open in ["/v1/health", "/v1/health/liveness", "/v1/health/deep"] {
        assert_eq!(api.send(plain(open)).await.status(), 200, "{open}");
    }
    let named = Request::builder()
        .uri("/v1/health")
        .header("x-request-id", "abc")
        .body(Body::empty())
        .unwrap();
    assert_eq!(api.send(named).await.headers()["x-request-id"], "abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_or_too_large_is_told_so() {
    let api = Api::new().await;
    let post = |body: Body| {
        let request = Request::builder().method("POST").uri("/v1/buckets");
        request
            .header("authorization", format!("Bearer {}", api.key))
            .body(body)
            .unwrap()
    };
    let answer = json_of(api.send(post(Body::from("{\"bucket_name\": "))).await).await;
    assert_eq!(answer["status"], 422);
    assert_eq!(
        answer["error"]["details"]["validation_errors"][0]["type"],
        "json_invalid"
    );
    let answer = json_of(
        api.send(post(Body::from(vec![b' '; fettle_api::BODY_BYTES_MAX + 1])))
            .await,
    )
    .await;
    assert_eq!(
        (answer["status"].as_u64(), answer["error"]["type"].as_str()),
        (Some(413), Some("PayloadTooLargeError"))
    );
}
