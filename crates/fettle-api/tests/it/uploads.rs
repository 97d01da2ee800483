//! Uploads by signed addresses: only what was announced, once, in time, and seen by nobody else.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::harness::{Api, json_of};

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

async fn bucket(api: &Api) -> String {
    let properties =
        json!({"body": {"type": "text"}, "photo": {"type": "image"}, "lang": {"type": "string"}});
    let body = json!({"bucket_name": "files", "bucket_schema": {"properties": properties}});
    let made = api.ok("POST", "/v1/buckets", body).await;
    made["bucket_id"].as_str().unwrap().to_owned()
}

fn hello() -> Value {
    json!({"filename": "hello.txt", "content_type": "text/plain", "blob_property": "body"})
}

/// The path and query of an address.
fn path(upload: &Value) -> String {
    let url = upload["presigned_url"]
        .as_str()
        .unwrap_or_else(|| panic!("no address: {upload:#}"));
    let at = url.find("/v1/").unwrap();
    url[at..].to_owned()
}

async fn put(api: &Api, path: &str, content_type: &str, bytes: &[u8]) -> (u16, Value) {
    let request = Request::builder()
        .method("PUT")
        .uri(path)
        .header("content-type", content_type)
        .body(Body::from(bytes.to_vec()));
    let response = api.send(request.unwrap()).await;
    (response.status().as_u16(), json_of(response).await)
}

#[tokio::test]
async fn a_file_becomes_an_object() {
    let api = Api::new().await;
    let uploads = format!("/v1/buckets/{}/uploads", bucket(&api).await);
    let mut wanted = hello();
    wanted["object_metadata"] = json!({"lang": "en"});
    wanted["file_hash"] = json!(HELLO);
    wanted["file_size_bytes"] = json!(5);
    let made = api.ok("POST", &uploads, wanted).await;
    assert_eq!(made["status"], "PENDING");
    let id = made["upload_id"].as_str().unwrap();
    let confirm = format!("{uploads}/{id}/confirm");
    let early = api.refused(409, "POST", &confirm, Value::Null).await;
    assert!(
        early["message"]
            .as_str()
            .unwrap()
            .contains("no file has come"),
        "{early:#}"
    );
    assert_eq!(put(&api, &path(&made), "text/plain", b"hello").await.0, 200);
    let wrong = json!({"file_size_bytes": 6});
    api.refused(422, "POST", &confirm, wrong).await;
    let wrong = json!({"etag": "\"abc\""});
    api.refused(422, "POST", &confirm, wrong).await;
    let confirmed = api
        .ok(
            "POST",
            &confirm,
            json!({"file_size_bytes": 5, "etag": HELLO}),
        )
        .await;
    assert_eq!(confirmed["status"], "COMPLETED");
    assert_eq!(confirmed["file_hash"], HELLO);
    let object = confirmed["object_id"].as_str().unwrap();
    let again = api.ok("POST", &confirm, Value::Null).await;
    assert_eq!(
        again["object_id"], object,
        "confirming twice makes one object"
    );
    let objects = uploads.replace("/uploads", "/objects");
    let shown = api
        .ok("GET", &format!("{objects}/{object}"), Value::Null)
        .await;
    assert_eq!(shown["lang"], "en");
    assert_eq!(shown["blobs"][0]["property"], "body");
    let read = api.ok("GET", &format!("{uploads}/{id}"), Value::Null).await;
    assert_eq!(read["object_id"], object);
    assert_eq!(read["presigned_url"], Value::Null);
    let key = read["s3_key"].as_str().unwrap();
    assert_eq!(&api.control.blobs().get(key).await.unwrap()[..], b"hello");
    api.ok("DELETE", &format!("{uploads}/{id}"), Value::Null)
        .await;
    assert!(
        api.control.blobs().head(key).await.is_ok(),
        "the object has its file still"
    );
    api.ok("DELETE", &format!("{objects}/{object}"), Value::Null)
        .await;
    assert!(api.control.blobs().head(key).await.is_err());
}

#[tokio::test]
async fn an_address_works_once_for_what_was_announced() {
    let api = Api::new().await;
    let uploads = format!("/v1/buckets/{}/uploads", bucket(&api).await);
    let mut wanted = hello();
    wanted["file_size_bytes"] = json!(5);
    wanted["file_hash"] = json!(HELLO);
    let made = api.ok("POST", &uploads, wanted).await;
    let good = path(&made);
    assert_eq!(put(&api, &good, "text/html", b"hello").await.0, 400);
    assert_eq!(put(&api, &good, "text/plain", b"hell").await.0, 400);
    assert_eq!(put(&api, &good, "text/plain", b"hello!").await.0, 400);
    assert_eq!(put(&api, &good, "text/plain", b"hallo").await.0, 400);
    let other = api.ok("POST", &uploads, hello()).await;
    let other_id = other["upload_id"].as_str().unwrap();
    let id = made["upload_id"].as_str().unwrap();
    for bad in [
        good.replace(id, other_id),
        good.replace("expires_ms=1", "expires_ms=2"),
        format!("{}0", &good[..good.len() - 1]).replace("00", "11"),
        format!("/v1/uploads/{id}"),
        good.replace(id, "upl_unknown"),
        good.replace(id, "..%2f..%2fstate"),
    ] {
        assert_eq!(
            put(&api, &bad, "text/plain", b"hello").await.0,
            403,
            "{bad}"
        );
    }
    assert_eq!(put(&api, &good, "text/plain", b"hello").await.0, 200);
    let (status, answer) = put(&api, &good, "text/plain", b"hello").await;
    assert_eq!(status, 409, "{answer:#}");
    let bucket = made["bucket_id"].as_str().unwrap();
    let folder = api.folder.path().join("blobs/uploads").join(bucket);
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_sent() {
    let api = Api::new().await;
    let uploads = format!("/v1/buckets/{}/uploads", bucket(&api).await);
    let refused = async |key: &str, value: Value| {
        let mut body = hello();
        body[key] = value;
        let error = api.refused(422, "POST", &uploads, body).await;
        let message = error["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains(key) || message.contains("blobs"),
            "{key}: {message}"
        );
    };
    for name in ["", "../x", "a/b", "a\\b", "..", "a\nb", &"x".repeat(256)] {
        refused("filename", json!(name)).await;
    }
    for content_type in [
        "",
        "text",
        "text/",
        "/plain",
        "text/plain\r\nx: y",
        "te xt/plain",
    ] {
        refused("content_type", json!(content_type)).await;
    }
    refused("file_size_bytes", json!(0)).await;
    refused("file_size_bytes", json!((256_u64 << 20) + 1)).await;
    refused("file_hash", json!(HELLO.to_uppercase())).await;
    refused("presigned_url_expiration", json!(59)).await;
    refused("presigned_url_expiration", json!(86_401)).await;
    refused("blob_property", json!("no-name")).await;
    refused("blob_property", json!("unknown")).await;
    refused("blob_type", json!("hologram")).await;
    refused("blob_type", json!("integer")).await;
    refused("filenam", json!("x")).await;
    let mut photo = hello();
    photo["blob_property"] = json!("photo");
    api.refused(422, "POST", &uploads, photo.clone()).await;
    photo["content_type"] = json!("image/png");
    api.ok("POST", &uploads, photo).await;
    let none = json!({ "uploads": [] });
    api.refused(422, "POST", &format!("{uploads}/batch"), none)
        .await;
    let listed = api
        .ok("POST", &format!("{uploads}/list"), Value::Null)
        .await;
    assert_eq!(listed["stats"]["total_uploads"], 1);
}

#[tokio::test]
async fn the_same_content_is_taken_once() {
    let api = Api::new().await;
    let uploads = format!("/v1/buckets/{}/uploads", bucket(&api).await);
    let send = async || {
        let made = api.ok("POST", &uploads, hello()).await;
        put(&api, &path(&made), "text/plain", b"hello").await;
        let id = made["upload_id"].as_str().unwrap().to_owned();
        api.ok("POST", &format!("{uploads}/{id}/confirm"), Value::Null)
            .await;
        api.ok("GET", &format!("{uploads}/{id}"), Value::Null).await
    };
    let first = send().await;
    let second = send().await;
    assert_eq!(second["is_duplicate"], true, "{second:#}");
    assert_eq!(second["object_id"], first["object_id"]);
    assert_eq!(second["duplicate_of_upload_id"], first["upload_id"]);
    let mut announced = hello();
    announced["file_hash"] = json!(HELLO);
    let third = api.ok("POST", &uploads, announced.clone()).await;
    assert_eq!(third["presigned_url"], Value::Null, "{third:#}");
    assert_eq!(third["existing_object_id"], first["object_id"]);
    announced["skip_duplicates"] = json!(false);
    let fourth = api.ok("POST", &uploads, announced).await;
    assert!(fourth["presigned_url"].is_string());
    let object = first["object_id"].as_str().unwrap();
    let objects = uploads.replace("/uploads", "/objects");
    api.ok("DELETE", &format!("{objects}/{object}"), Value::Null)
        .await;
    let fifth = send().await;
    assert_eq!(
        fifth["is_duplicate"], false,
        "what was deleted is no duplicate"
    );
}

#[tokio::test]
async fn uploads_become_parts_of_one_object_each() {
    let api = Api::new().await;
    let bucket = bucket(&api).await;
    let uploads = format!("/v1/buckets/{bucket}/uploads");
    let part = |property: &str, content_type: &str| json!({"filename": "f", "content_type": content_type, "blob_property": property, "create_object_on_confirm": false});
    let parts = json!({"uploads": [part("body", "text/plain"), part("photo", "image/png")]});
    let made = api.ok("POST", &format!("{uploads}/batch"), parts).await;
    assert_eq!(made["total"], 2);
    let ids: Vec<&str> = made["uploads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["upload_id"].as_str().unwrap())
        .collect();
    for (upload, content_type) in made["uploads"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["text/plain", "image/png"])
    {
        assert_eq!(
            put(&api, &path(upload), content_type, b"bytes").await.0,
            200
        );
    }
    let blob = |property: &str, kind: &str, id: &str| json!({"property": property, "type": kind, "upload_id": id});
    let object = json!({"blobs": [blob("body", "text", ids[0]), blob("photo", "image", ids[1])]});
    let objects = format!("/v1/buckets/{bucket}/objects");
    api.refused(422, "POST", &objects, object.clone()).await;
    let confirmations = json!({"confirmations": [{"upload_id": ids[0]}, {"upload_id": ids[1]}, {"upload_id": "upl_unknown"}]});
    let confirmed = api
        .ok("POST", &format!("{uploads}/confirm/batch"), confirmations)
        .await;
    assert_eq!(
        confirmed["status"], "COMPLETED_WITH_ERRORS",
        "{confirmed:#}"
    );
    let results = &confirmed["task"]["additional_data"]["results"];
    assert_eq!(results[1]["status"], "COMPLETED");
    assert_eq!(results[2]["error_type"], "NotFoundError");
    let made = api.ok("POST", &objects, object.clone()).await;
    assert_eq!(made["blobs"].as_array().unwrap().len(), 2, "{made:#}");
    let taken = api.refused(422, "POST", &objects, object).await;
    assert!(
        taken["message"]
            .as_str()
            .unwrap()
            .contains("part of object"),
        "{taken:#}"
    );
}

#[tokio::test]
async fn another_namespace_sees_and_changes_nothing() {
    let api = Api::new().await;
    let bucket = bucket(&api).await;
    let uploads = format!("/v1/buckets/{bucket}/uploads");
    let made = api.ok("POST", &uploads, hello()).await;
    let id = made["upload_id"].as_str().unwrap();
    api.ok("POST", "/v1/namespaces", json!({"namespace_name": "other"}))
        .await;
    let theirs = json!({"bucket_name": "theirs", "bucket_schema": {"properties": {"body": {"type": "text"}}}});
    let (_, theirs) = api
        .call_as(&api.key, Some("other"), "POST", "/v1/buckets", theirs)
        .await;
    let theirs = theirs["bucket_id"].as_str().unwrap();
    for bucket in [bucket.as_str(), "files", theirs] {
        let uploads = format!("/v1/buckets/{bucket}/uploads");
        for (method, path) in [
            ("GET", format!("{uploads}/{id}")),
            ("DELETE", format!("{uploads}/{id}")),
            ("POST", format!("{uploads}/{id}/confirm")),
        ] {
            let (status, _) = api
                .call_as(&api.key, Some("other"), method, &path, Value::Null)
                .await;
            assert_eq!(status, 404, "{method} {path}");
        }
    }
    let list = format!("/v1/buckets/{theirs}/uploads/list");
    let (_, listed) = api
        .call_as(&api.key, Some("other"), "POST", &list, Value::Null)
        .await;
    assert_eq!(listed["stats"]["total_uploads"], 0);
    api.ok("DELETE", &format!("/v1/buckets/{bucket}"), Value::Null)
        .await;
    assert_eq!(
        put(&api, &path(&made), "text/plain", b"hello").await.0,
        403,
        "its bucket is gone"
    );
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let api = Api::new().await;
    let uploads = format!("/v1/buckets/{}/uploads", bucket(&api).await);
    for n in 0..5 {
        let mut body = hello();
        body["filename"] = json!(format!("file-{n}.txt"));
        body["file_size_bytes"] = json!(n + 1);
        body["metadata"] = json!({"odd": n % 2 == 1});
        api.ok("POST", &uploads, body).await;
    }
    let list = async |body: Value| api.ok("POST", &format!("{uploads}/list"), body).await;
    let names = |answer: &Value| -> Vec<String> {
        let results = answer["results"].as_array().unwrap().iter();
        results
            .map(|it| it["filename"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = list(json!({"limit": 2, "offset": 2})).await;
    assert_eq!(names(&page), ["file-2.txt", "file-1.txt"]);
    assert_eq!(page["stats"]["total_size_bytes"], 15);
    assert_eq!(page["stats"]["avg_file_size_bytes"], 3.0);
    assert_eq!(page["stats"]["uploads_by_status"], json!({"PENDING": 5}));
    assert_eq!(
        names(&list(json!({"search": "FILE-3"})).await),
        ["file-3.txt"]
    );
    let odd =
        json!({"filters": {"AND": [{"field": "metadata.odd", "operator": "eq", "value": true}]}});
    assert_eq!(names(&list(odd).await), ["file-3.txt", "file-1.txt"]);
    let with = list(json!({"limit": 1, "return_presigned_urls": true})).await;
    assert!(with["results"][0]["presigned_url"].is_string());
    assert_eq!(page["results"][0]["presigned_url"], Value::Null);
}
