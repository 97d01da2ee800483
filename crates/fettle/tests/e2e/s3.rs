//! A batch whose blobs, manifests and sources lie on a server that speaks S3, in this process, on loopback.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use s3s::HttpError;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::json;

use crate::server::{Server, text};

/// Serves the folders below `dir` as buckets until the test's process ends.
fn serve_s3(dir: &Path) -> SocketAddr {
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir).unwrap());
    service.set_auth(SimpleAuth::from_single("user", "secret"));
    let failed = |_: HttpError| async { StatusCode::INTERNAL_SERVER_ERROR };
    let app = Router::new().fallback_service(HandleError::new(service.build(), failed));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    address
}

/// A server whose blobs lie in the bucket `fettle` of an S3 server.
fn start(dir: &Path) -> Server {
    let address = serve_s3(&dir.join("s3"));
    let env = [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "user".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let blobs = ["--blobs", "s3://fettle/data"];
    Server::start_with(&dir.join("data"), dir, &blobs, env)
}

#[test]
fn a_batch_reads_and_keeps_its_blobs_on_s3() {
    let dir = tempfile::tempdir().unwrap();
    let bucket_dir = dir.path().join("s3/fettle");
    std::fs::create_dir_all(bucket_dir.join("in")).unwrap();
    std::fs::write(bucket_dir.join("in/river.txt"), "a river in a bucket").unwrap();
    let server = start(dir.path());
    let bucket = server.bucket("far");
    server.collection("pages", &bucket, "universal_extractor", json!({}));
    // Too long to live in the record, so it is kept in the blob store.
    let inline = "inline ".repeat(20_000);
    let sources = [
        "s3://fettle/in/river.txt",
        "s3://fettle/in/gone.txt",
        &inline,
    ];
    let objects = sources.map(|data| {
        let body = json!({"blobs": [{"property": "file", "type": "text", "data": data}]});
        let object = server.post(&format!("/v1/buckets/{bucket}/objects"), body);
        text(&object["object_id"])
    });
    let batch = server.submit(&bucket, &objects, json!({}));
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED_WITH_ERRORS", "{ended:#}");
    let failed = server.get(&format!(
        "/v1/buckets/{bucket}/batches/{batch}/failed-documents"
    ));
    assert!(
        failed.to_string().contains("s3://fettle/in/gone.txt"),
        "{failed:#}"
    );
    let audit = server.get(&format!("/v1/buckets/{bucket}/batches/{batch}/audit"));
    assert_eq!(audit["tiers"][0]["processed"], 2, "{audit:#}");
    assert!(
        bucket_dir.join("data/manifests").is_dir(),
        "the manifest is not on S3"
    );
}

#[test]
fn a_file_goes_to_the_stores_own_signed_address() {
    let dir = tempfile::tempdir().unwrap();
    let bucket_dir = dir.path().join("s3/fettle");
    std::fs::create_dir_all(&bucket_dir).unwrap();
    let server = start(dir.path());
    let uploads = format!("/v1/buckets/{}/uploads", server.bucket("far"));
    let wanted = |size: u64| {
        let body = json!({"filename": "a.txt", "content_type": "text/plain", "blob_property": "file", "file_size_bytes": size});
        server.post(&uploads, body)
    };
    let put = |upload: &serde_json::Value, bytes: &'static str| {
        let url = text(&upload["presigned_url"]);
        assert!(url.contains("X-Amz-Signature="), "{url}");
        let request = server.http.put(url).header("content-type", "text/plain");
        let answer = request.body(bytes).send().unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    };
    let confirm = |upload: &serde_json::Value| {
        let path = format!("{uploads}/{}/confirm", text(&upload["upload_id"]));
        server.try_call("POST", &path, Some(json!({})))
    };
    let made = wanted(5);
    assert_eq!(confirm(&made).0, 409, "nothing has come");
    put(&made, "hello");
    let (status, confirmed) = confirm(&made);
    assert_eq!(status, 200, "{confirmed:#}");
    assert!(confirmed["object_id"].is_string(), "{confirmed:#}");
    let file = bucket_dir.join("data").join(text(&made["s3_key"]));
    assert_eq!(std::fs::read(file).unwrap(), b"hello");
    let short = wanted(100);
    put(&short, "short");
    let (status, refused) = confirm(&short);
    assert_eq!(status, 422, "{refused:#}");
    let file = bucket_dir.join("data").join(text(&short["s3_key"]));
    assert!(!file.exists(), "what is not as announced stays");
    assert_eq!(confirm(&short).0, 409, "it was given up");
}
