//! Namespaces, buckets, objects, collections, extractors: made, listed, changed, deleted.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::harness::{Api, json_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_made_found_renamed_and_deleted() {
    let api = Api::new().await;
    let made = api.ok("POST", "/v1/namespaces", json!({"namespace_name": "team", "mode": "managed", "feature_extractors": [{"feature_extractor_name": "text_extractor", "version": "v1"}]})).await;
    let id = made["namespace_id"].as_str().unwrap();
    assert_eq!(
        api.ok("GET", "/v1/namespaces/team", Value::Null).await["namespace_id"],
        id
    );
    api.refused(
        409,
        "POST",
        "/v1/namespaces",
        json!({"namespace_name": "team"}),
    )
    .await;
    api.refused(422, "POST", "/v1/namespaces", json!({"namespace_name": "x2", "feature_extractors": [{"feature_extractor_name": "video", "version": "v1"}]})).await;
    let renamed = api
        .ok(
            "PATCH",
            &format!("/v1/namespaces/{id}"),
            json!({"namespace_name": "crew", "description": "d"}),
        )
        .await;
    assert_eq!(
        (
            renamed["namespace_name"].as_str(),
            renamed["description"].as_str()
        ),
        (Some("crew"), Some("d"))
    );
    let bucket =
        json!({"bucket_name": "b", "bucket_schema": {"properties": {"a": {"type": "text"}}}});
    assert_eq!(
        api.call_as(&api.key, Some("crew"), "POST", "/v1/buckets", bucket)
            .await
            .0,
        200
    );
    let refused = api
        .refused(409, "DELETE", "/v1/namespaces/crew", Value::Null)
        .await;
    assert!(refused["message"].as_str().unwrap().contains("force"));
    api.ok("DELETE", "/v1/namespaces/crew?force=true", Value::Null)
        .await;
    api.refused(404, "GET", "/v1/namespaces/crew", Value::Null)
        .await;
    assert_eq!(
        api.ok("GET", "/v1/namespaces", Value::Null).await["total_count"],
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_paged_searched_and_changed() {
    let api = Api::new().await;
    for number in 0..5 {
        let body = json!({"bucket_name": format!("bucket-{number}"), "bucket_schema": {"properties": {"a": {"type": "text", "required": false}}}});
        api.ok("POST", "/v1/buckets", body).await;
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api
            .ok(
                "POST",
                "/v1/buckets/list",
                json!({"limit": 2, "cursor": cursor}),
            )
            .await;
        names.extend(
            page["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|bucket| bucket["bucket_name"].as_str().unwrap().to_owned()),
        );
        match page["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(
        names,
        ["bucket-4", "bucket-3", "bucket-2", "bucket-1", "bucket-0"]
    );
    let found = api.ok("GET", "/v1/buckets?search=KET-3", Value::Null).await;
    assert_eq!(
        (
            found["total_count"].as_u64(),
            found["results"][0]["bucket_name"].as_str()
        ),
        (Some(1), Some("bucket-3"))
    );
    let changed = api
        .ok(
            "PATCH",
            "/v1/buckets/bucket-3",
            json!({"bucket_name": "three", "metadata": {"k": 1}}),
        )
        .await;
    assert_eq!(
        (changed["bucket_name"].as_str(), &changed["metadata"]),
        (Some("three"), &json!({"k": 1}))
    );
    api.ok("DELETE", "/v1/buckets/three", Value::Null).await;
    api.refused(404, "GET", "/v1/buckets/three", Value::Null)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_replayed_filtered_and_deleted() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    let path = format!("/v1/buckets/{bucket}/objects");
    let body = |text: &str, lang: &str| json!({"lang": lang, "title": text, "canonicalize_source": true, "idempotency_key": text, "blobs": [{"property": "body", "type": "text", "data": text}]});
    let first = api.ok("POST", &path, body("alpha", "en")).await;
    assert_eq!(
        (
            first["title"].as_str(),
            first["blobs"][0]["properties"]["data"].as_str()
        ),
        (Some("alpha"), Some("alpha"))
    );
    let again = api.ok("POST", &path, body("alpha", "en")).await;
    assert_eq!(
        (&again["object_id"], again["replayed_by"].as_str()),
        (&first["object_id"], Some("idempotency_key"))
    );
    let blob = json!([{"property": "body", "type": "text", "data": "same"}]);
    let one = api
        .ok(
            "POST",
            &path,
            json!({"blobs": blob, "skip_duplicates": true}),
        )
        .await;
    let two = api
        .ok(
            "POST",
            &path,
            json!({"blobs": blob, "skip_duplicates": true}),
        )
        .await;
    assert_eq!(
        (&one["object_id"], two["replayed_by"].as_str()),
        (&two["object_id"], Some("skip_duplicates"))
    );
    let mixed = json!({"objects": [body("beta", "de"), {"blobs": [{"property": "nope", "type": "text", "data": "x"}]}, 3, body("gamma", "de")]});
    let answer = api.ok("POST", &format!("{path}/batch"), mixed).await;
    assert_eq!(
        (
            answer["succeeded_count"].as_u64(),
            answer["failed_count"].as_u64()
        ),
        (Some(2), Some(2))
    );
    assert_eq!(
        (
            answer["failed"][0]["object_index"].as_u64(),
            answer["succeeded"][1]["object_index"].as_u64()
        ),
        (Some(1), Some(3))
    );
    let filter = json!({"filters": {"AND": [{"field": "lang", "operator": "eq", "value": "de"}], "case_sensitive": false}, "limit": 1});
    let page = api
        .ok("POST", &format!("{path}/list"), filter.clone())
        .await;
    assert_eq!(page["results"][0]["title"], "beta");
    let mut next = filter;
    next["cursor"] = page["pagination"]["next_cursor"].clone();
    let page = api.ok("POST", &format!("{path}/list"), next).await;
    assert_eq!(
        (
            page["results"][0]["title"].as_str(),
            &page["pagination"]["next_cursor"]
        ),
        (Some("gamma"), &Value::Null)
    );
    let id = first["object_id"].as_str().unwrap();
    let changed = api
        .ok(
            "PATCH",
            &format!("{path}/{id}"),
            json!({"title": null, "lang": "fr"}),
        )
        .await;
    assert_eq!(
        (changed.get("title"), changed["lang"].as_str()),
        (None, Some("fr"))
    );
    api.refused(422, "PATCH", &format!("{path}/{id}"), json!({"lang": 3}))
        .await;
    let counted = api
        .ok(
            "GET",
            &format!("{path}/{id}?include_document_count=true"),
            Value::Null,
        )
        .await;
    assert_eq!(counted["document_count"], 0);
    assert_eq!(
        api.ok("GET", "/v1/buckets/docs", Value::Null).await["object_count"],
        4
    );
    api.ok("DELETE", &format!("{path}/{id}"), Value::Null).await;
    api.refused(404, "GET", &format!("{path}/{id}"), Value::Null)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_data_go_to_the_blob_store_and_leave_with_the_object() {
    let api = Api::new().await;
    let schema = json!({"properties": {"photo": {"type": "image"}, "sku": {"type": "string"}}});
    let bucket = json!({"bucket_name": "photos", "bucket_schema": schema, "unique_key": {"fields": ["sku"]}});
    let bucket = api.ok("POST", "/v1/buckets", bucket).await["bucket_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let photo = json!({"sku": "a", "blobs": [{"property": "photo", "type": "image", "data": "data:image/png;base64,aGVsbG8="}]});
    let made = api
        .ok("POST", "/v1/buckets/photos/objects", photo.clone())
        .await;
    let details = &made["blobs"][0]["details"];
    assert_eq!(
        (
            details["size_bytes"].as_u64(),
            details["mime_type"].as_str()
        ),
        (Some(5), Some("image/png"))
    );
    let url = made["blobs"][0]["properties"]["url"].as_str().unwrap();
    let key = url.strip_prefix("blob:").unwrap();
    assert_eq!(api.control.blobs().get(key).await.unwrap(), "hello");
    let refused = api
        .refused(409, "POST", "/v1/buckets/photos/objects", photo)
        .await;
    assert_eq!(refused["type"], "AlreadyExistsError");
    let kept = api.folder.path().join("blobs/objects").join(&bucket);
    assert_eq!(
        std::fs::read_dir(&kept).unwrap().count(),
        1,
        "the refused object's bytes are gone"
    );
    api.ok(
        "DELETE",
        &format!(
            "/v1/buckets/photos/objects/{}",
            made["object_id"].as_str().unwrap()
        ),
        Value::Null,
    )
    .await;
    assert!(api.control.blobs().get(key).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_keep_complete_parameters_and_guard_their_sources() {
    let api = Api::new().await;
    let (_, collection) = api.bucket_and_collection().await;
    let shown = api.ok("GET", "/v1/collections/chunks", Value::Null).await;
    assert_eq!(shown["feature_extractor"]["params"]["embedding"], "lexical");
    assert_eq!(shown["vector_indexes"][0]["index"]["dimensions"], 384);
    assert_eq!(shown["document_count"], 0);
    let second = json!({"collection_name": "second", "source": {"type": "collection", "collection_id": "chunks"}, "feature_extractor": {"feature_extractor_name": "passthrough_extractor", "version": "v1", "field_passthrough": [{"source_path": "text"}]}});
    let second = api.ok("POST", "/v1/collections", second).await;
    assert_eq!(second["source"]["collection_ids"], json!([collection]));
    let refused = api
        .refused(409, "DELETE", "/v1/collections/chunks", Value::Null)
        .await;
    assert!(refused["message"].as_str().unwrap().contains("second"));
    let changed = api
        .ok("PATCH", "/v1/collections/second", json!({"enabled": false}))
        .await;
    assert_eq!(changed["enabled"], false);
    let warned = json!({"collection_name": "warned", "source": {"type": "bucket", "bucket_ids": ["docs"]}, "feature_extractor": {"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": [{"input_key": "text", "path": "missing"}]}});
    let warned = api.ok("POST", "/v1/collections", warned).await;
    assert!(
        warned["warnings"][0]
            .as_str()
            .unwrap()
            .contains("`missing`")
    );
    for name in ["second", "chunks"] {
        api.ok("DELETE", &format!("/v1/collections/{name}"), Value::Null)
            .await;
    }
    assert_eq!(
        api.ok("GET", "/v1/collections", Value::Null).await["total_count"],
        1
    );
    let extractors = api
        .ok("GET", "/v1/collections/features/extractors", Value::Null)
        .await;
    assert!(
        extractors
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["feature_extractor_id"] == "text_extractor_v1")
    );
}

/// An archive with this manifest.
fn archive(manifest: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("fettle-plugin.toml", options).unwrap();
    zip.write_all(manifest.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_registered_once_and_its_inputs_are_checked() {
    let api = Api::new().await;
    api.bucket_and_collection().await;
    let manifest = "name = \"count_words\"\nversion = \"v1\"\nkind = \"exec\"\nentry = [\"./count\"]\n[[inputs]]\nkey = \"text\"\nrequired = true\n";
    let register = async |archive: Vec<u8>| {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/collections/features/plugins")
            .header("authorization", format!("Bearer {}", api.key))
            .body(Body::from(archive));
        let response = api.send(request.unwrap()).await;
        (response.status().as_u16(), json_of(response).await)
    };
    let (status, made) = register(archive(manifest)).await;
    assert_eq!(status, 200, "{made:#}");
    assert_eq!(made["feature_extractor_id"], "count_words_v1");
    assert_eq!(register(archive(manifest)).await.0, 409);
    assert_eq!(register(b"no zip".to_vec()).await.0, 422);
    let taken = manifest.replace("count_words", "text_extractor");
    assert_eq!(register(archive(&taken)).await.0, 422);
    let listed = api.ok("GET", "/v1/plugins", Value::Null).await;
    assert_eq!(listed["total_count"], 1);
    let shown = api
        .ok(
            "GET",
            "/v1/collections/features/extractors/count_words_v1",
            Value::Null,
        )
        .await;
    assert_eq!(shown["source"], "custom");
    let collection = |mappings: Value| json!({"collection_name": "counted", "source": {"type": "bucket", "bucket_ids": ["docs"]}, "feature_extractor": {"feature_extractor_name": "count_words", "version": "v1", "input_mappings": mappings}});
    api.refused(422, "POST", "/v1/collections", collection(json!({})))
        .await;
    api.refused(
        422,
        "POST",
        "/v1/collections",
        collection(json!({"text": "body", "x": "lang"})),
    )
    .await;
    api.ok(
        "POST",
        "/v1/collections",
        collection(json!({"text": "body"})),
    )
    .await;
}
