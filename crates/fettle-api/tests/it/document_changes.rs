//! Documents that clients write, their lineage, and collections held against their sources.

use serde_json::{Value, json};

use crate::harness::Api;

/// A collection of the bucket's chunks, one that reads it, and the path of the first's documents.
async fn chain(api: &Api) -> (String, String, String) {
    let (bucket, collection) = api.bucket_and_collection().await;
    let source = json!({"type": "collection", "collection_id": collection});
    let body = json!({"collection_name": "children", "source": source});
    let child = api.ok("POST", "/v1/collections", body).await;
    let child = child["collection_id"].as_str().unwrap().to_owned();
    (
        bucket,
        format!("/v1/collections/{collection}"),
        format!("/v1/collections/{child}"),
    )
}

fn id(document: &Value) -> &str {
    document["document_id"].as_str().unwrap()
}

#[tokio::test]
async fn a_document_is_made_changed_and_replaced() {
    let api = Api::new().await;
    let (_, parent, _) = chain(&api).await;
    let documents = format!("{parent}/documents");
    let made = api
        .ok("POST", &documents, json!({"title": "x", "pages": 3}))
        .await;
    let path = format!("{documents}/{}", id(&made));
    let patched = api
        .ok("PATCH", &path, json!({"pages": null, "lang": "en"}))
        .await;
    assert_eq!(
        (&patched["title"], patched.get("pages")),
        (&json!("x"), None)
    );
    let put = api.ok("PUT", &path, json!({"title": "y"})).await;
    assert_eq!((&put["title"], put.get("lang")), (&json!("y"), None));
    assert_eq!(api.ok("GET", &path, Value::Null).await["title"], "y");
    for body in [json!({"_internal": {}}), json!({"document_id": "doc_x"})] {
        api.refused(422, "PATCH", &path, body).await;
    }
    let features = json!({"features": [{"feature_extractor_id": "x"}]});
    api.refused(422, "POST", &documents, features).await;
    let vector = json!({"vectors": {"nope": [1.0]}});
    api.refused(422, "POST", &documents, vector).await;
}

#[tokio::test]
async fn lineage_runs_up_and_down() {
    let api = Api::new().await;
    let (_, parent, child) = chain(&api).await;
    let first = api
        .ok("POST", &format!("{parent}/documents"), json!({"n": 1}))
        .await;
    let source = json!({"n": 2, "source_document_id": first["document_id"], "source_collection_id": first["collection_id"]});
    let second = api.ok("POST", &format!("{child}/documents"), source).await;
    let up = format!("{child}/documents/{}/ancestors", id(&second));
    assert_eq!(
        api.ok("GET", &up, Value::Null).await[0]["document_id"],
        first["document_id"]
    );
    let down = format!("{parent}/documents/{}/descendants", id(&first));
    assert_eq!(
        api.ok("GET", &down, Value::Null).await[0]["document_id"],
        second["document_id"]
    );
    let told = format!("{parent}/documents/{}/diagnostics", id(&first));
    let told = api.ok("GET", &told, Value::Null).await;
    assert_eq!(told["visibility_reason"]["searchable"], false);
    assert_eq!(told["diagnostic_history"]["entries"][0]["source"], "client");
}

#[tokio::test]
async fn an_object_without_a_document_is_told_with_the_reason() {
    let api = Api::new().await;
    let (bucket, parent, child) = chain(&api).await;
    let objects = api.objects(&bucket, &["x", "y"]).await;
    let document = json!({"source_object_id": objects[0]});
    api.ok("POST", &format!("{parent}/documents"), document)
        .await;
    let told = api
        .ok("GET", &format!("{parent}/reconciliation"), Value::Null)
        .await;
    assert_eq!(told["source_object_count"], 2);
    assert_eq!(
        (&told["delta"], &told["produced_object_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(told["discrepancies"][0]["object_id"], objects[1]);
    assert_eq!(told["discrepancies"][0]["reason"], "no_document");
    let below = format!("{child}/reconciliation?limit=1");
    let below = api.ok("GET", &below, Value::Null).await;
    assert_eq!(
        (&below["delta"], &below["discrepancies_truncated"]),
        (&json!(2), &json!(true))
    );
    let features = api
        .ok("GET", &format!("{parent}/features"), Value::Null)
        .await;
    let feature = &features["features"][0];
    assert!(
        feature["feature_uri"]
            .as_str()
            .unwrap()
            .starts_with("mixpeek://text_extractor@v1/")
    );
}

#[tokio::test]
async fn another_namespace_sees_no_document_lineage_or_reconciliation() {
    let api = Api::new().await;
    let (_, parent, _) = chain(&api).await;
    let documents = format!("{parent}/documents");
    let made = api.ok("POST", &documents, json!({"n": 1})).await;
    let path = format!("{documents}/{}", id(&made));
    api.ok("POST", "/v1/namespaces", json!({"namespace_name": "other"}))
        .await;
    let tried = [
        ("POST", documents.clone()),
        ("PUT", path.clone()),
        ("PATCH", path.clone()),
        ("GET", format!("{path}/ancestors")),
        ("GET", format!("{path}/descendants")),
        ("GET", format!("{path}/diagnostics")),
        ("GET", format!("{parent}/features")),
        ("GET", format!("{parent}/reconciliation")),
        ("POST", format!("{parent}/trigger")),
    ];
    for (method, path) in tried {
        let body = if method == "GET" || path.ends_with("/trigger") {
            Value::Null
        } else {
            json!({"n": 2})
        };
        let (status, answer) = api
            .call_as(&api.key, Some("other"), method, &path, body)
            .await;
        assert_eq!(status, 404, "{method} {path}: {answer:#}");
    }
    assert_eq!(api.ok("GET", &path, Value::Null).await["n"], 1);
}

#[tokio::test]
async fn a_trigger_names_its_objects_and_refuses_others() {
    let api = Api::new().await;
    let (bucket, parent, child) = chain(&api).await;
    let trigger = format!("{parent}/trigger");
    api.refused(409, "POST", &trigger, Value::Null).await;
    let objects = api.objects(&bucket, &["x", "y"]).await;
    let one = json!({"object_ids": [objects[0]]});
    let answer = api.ok("POST", &trigger, one).await;
    assert_eq!(
        (&answer["object_count"], &answer["total_tiers"]),
        (&json!(1), &json!(1))
    );
    let missing = json!({"object_ids": [objects[0], "obj_missing"]});
    api.refused(422, "POST", &trigger, missing).await;
    api.refused(409, "POST", &format!("{child}/trigger"), Value::Null)
        .await;
}
