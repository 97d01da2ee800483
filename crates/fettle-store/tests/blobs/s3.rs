//! Blobs on a server that speaks S3, in this process, on loopback.

use std::net::SocketAddr;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use bytes::Bytes;
use fettle_ports::{BlobError, Blobs};
use fettle_store::ObjectBlobs;
use s3s::HttpError;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use crate::common::{deletes_by_prefix, keeps_blobs, keeps_streams};

/// A server with one bucket, `fettle`, and one key.
struct Server {
    dir: tempfile::TempDir,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("fettle")).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("user", "secret"));
        let failed = |_: HttpError| async { StatusCode::INTERNAL_SERVER_ERROR };
        let service = HandleError::new(service.build(), failed);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback_service(service);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { dir, address }
    }

    fn open(&self, address: &str, secret: &str) -> ObjectBlobs {
        open(address, &format!("http://{}", self.address), secret)
    }
}

fn open(address: &str, endpoint: &str, secret: &str) -> ObjectBlobs {
    let env = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "user"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", "us-east-1"),
        ("AWS_PROFILE", "passed over"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ObjectBlobs::open_with_env(address, env).unwrap()
}

#[tokio::test]
async fn a_bucket_keeps_blobs() {
    let server = Server::start().await;
    let blobs = server.open("s3://fettle", "secret");
    keeps_blobs(&blobs).await;
    keeps_streams(&blobs).await;
}

#[tokio::test]
async fn a_bucket_deletes_by_prefix() {
    let server = Server::start().await;
    deletes_by_prefix(&server.open("s3://fettle/data", "secret")).await;
}

#[tokio::test]
async fn blobs_lie_below_the_prefix_and_another_prefix_does_not_see_them() {
    let server = Server::start().await;
    let blobs = server.open("s3://fettle/team/one/", "secret");
    blobs.put("a/b", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(blobs.base_address(), "s3://fettle/team/one");
    assert!(server.dir.path().join("fettle/team/one/a/b").is_file());
    let other = server.open("s3://fettle/team/two", "secret");
    assert!(matches!(
        other.get("a/b").await,
        Err(BlobError::NotFound { .. })
    ));
}

#[tokio::test]
async fn wrong_credentials_are_an_outage_that_says_so() {
    let server = Server::start().await;
    let blobs = server.open("s3://fettle", "wrong");
    let error = blobs.check().await.unwrap_err();
    let BlobError::Unavailable { message, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        message.contains("SignatureDoesNotMatch") || message.contains("403"),
        "{message}"
    );
}

#[tokio::test]
async fn a_server_that_is_down_is_an_outage_within_seconds() {
    // Nothing listens on the discard port of loopback.
    let blobs = open("s3://fettle", "http://127.0.0.1:9", "secret");
    let error = blobs.get("a").await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable { .. }), "{error:?}");
}
