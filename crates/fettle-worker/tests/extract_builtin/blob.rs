//! The blob loader: what may be read and what not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use fettle_model::attempt::AccessPolicy;
use fettle_model::{DocumentErrorClass, ErrorCategory, Stage};
use fettle_worker::blob::{BLOB_BYTES_MAX, BlobLoader, BlobRef, LoadError};
use object_store::aws::AmazonS3Builder;

use crate::support::{response, serve};

struct Fixture {
    folder: tempfile::TempDir,
    loader: BlobLoader,
}

/// A loader that may read `allowed/` of a new folder and the given private hosts; its blob store is `store/`.
fn fixture(private_hosts: &[String], s3_port: u16) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    for name in ["allowed", "store", "secret"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let access = AccessPolicy {
        file_roots: vec![folder.path().join("allowed").display().to_string()],
        private_hosts: private_hosts.to_vec(),
    };
    let s3 = AmazonS3Builder::new()
        .with_region("us-east-1")
        .with_endpoint(format!("http://127.0.0.1:{s3_port}"))
        .with_allow_http(true)
        .with_skip_signature(true);
    let base = format!("file://{}", folder.path().join("store").display());
    let loader = BlobLoader::with_s3(&access, &base, "", s3).unwrap();
    Fixture { folder, loader }
}

impl Fixture {
    async fn load(&self, address: &str) -> Result<Vec<u8>, LoadError> {
        let blob = BlobRef {
            address: address.to_owned(),
            expected_bytes: None,
        };
        self.loader.load(&blob).await.map(|bytes| bytes.to_vec())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Asserts that an address is refused for good.
    async fn refused(&self, address: &str, category: ErrorCategory, says: &str) {
        let error = self.load(address).await.expect_err(address);
        let message = error.message();
        assert_eq!(error.category(), category, "{address}: {message}");
        assert_eq!(
            error.class(),
            DocumentErrorClass::Permanent,
            "{address}: {message}"
        );
        assert!(
            message.contains(says),
            "{address}: `{message}` does not say `{says}`"
        );
    }
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[tokio::test]
async fn files_below_the_roots_are_read() {
    let fixture = fixture(&[], 1);
    fs::create_dir(fixture.path("allowed/sub")).unwrap();
    fs::write(fixture.path("allowed/sub/a b.txt"), "hello").unwrap();
    symlink("sub/a b.txt", fixture.path("allowed/inside")).unwrap();
    let address = url(&fixture.path("allowed/sub/a%20b.txt"));
    assert_eq!(fixture.load(&address).await.unwrap(), b"hello");
    assert_eq!(
        fixture
            .load(&url(&fixture.path("allowed/inside")))
            .await
            .unwrap(),
        b"hello"
    );
}

#[tokio::test]
async fn files_outside_the_roots_are_refused() {
    let fixture = fixture(&[], 1);
    fs::write(fixture.path("secret/key"), "secret").unwrap();
    symlink(fixture.path("secret"), fixture.path("allowed/link")).unwrap();
    symlink(
        fixture.path("secret/key"),
        fixture.path("allowed/file-link"),
    )
    .unwrap();
    let outside = [
        "file:///etc/passwd".to_owned(),
        "FILE:///etc/passwd".to_owned(),
        "file:///does/not/exist".to_owned(),
        url(&fixture.path("secret/key")),
        url(&fixture.path("allowed/../secret/key")),
        url(&fixture.path("allowed/%2e%2e/secret/key")),
        url(&fixture.path("allowed/link/key")),
        url(&fixture.path("allowed/file-link")),
    ];
    for address in &outside {
        fixture
            .refused(address, ErrorCategory::Authentication, "not below a folder")
            .await;
    }
    let v = ErrorCategory::Validation;
    fixture
        .refused(&url(&fixture.path("allowed/nothing")), v, "nothing at")
        .await;
    fixture
        .refused(&url(&fixture.path("allowed")), v, "not a regular file")
        .await;
    fixture
        .refused("file://host/etc/passwd", v, "file:///absolute/path")
        .await;
    fixture.refused("gopher://x/y", v, "only file://").await;
}

#[tokio::test]
async fn pipes_do_not_hang_and_large_files_are_refused() {
    let fixture = fixture(&[], 1);
    let pipe = fixture.path("allowed/pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    fixture
        .refused(&url(&pipe), ErrorCategory::Validation, "not a regular file")
        .await;
    let large = fs::File::create(fixture.path("allowed/large")).unwrap();
    large.set_len(BLOB_BYTES_MAX + 1).unwrap();
    fixture
        .refused(
            &url(&fixture.path("allowed/large")),
            ErrorCategory::Resource,
            "more than",
        )
        .await;
    let announced = BlobRef {
        address: "a".to_owned(),
        expected_bytes: Some(BLOB_BYTES_MAX + 1),
    };
    assert!(matches!(
        fixture.loader.load(&announced).await,
        Err(LoadError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn private_addresses_are_refused_in_every_spelling() {
    let port = serve(vec![("/a", response("200 OK", "", "inside"))]).await;
    let fixture = fixture(&[], 1);
    let addresses = [
        format!("http://127.0.0.1:{port}/a"),
        format!("http://localhost:{port}/a"),
        format!("http://2130706433:{port}/a"),
        format!("http://0x7f.1:{port}/a"),
        format!("http://[::1]:{port}/a"),
        format!("http://[::ffff:127.0.0.1]:{port}/a"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://0.0.0.0/".to_owned(),
        "https://10.0.0.1/x?token=abc".to_owned(),
    ];
    for address in &addresses {
        fixture
            .refused(address, ErrorCategory::Authentication, "not public")
            .await;
    }
}

#[tokio::test]
async fn allowed_hosts_are_read_and_their_redirects_checked() {
    let other = serve(vec![("/secret", response("200 OK", "", "other service"))]).await;
    let redirect = |to: &str| response("302 Found", &format!("Location: {to}\r\n"), "");
    let port = serve(vec![
        ("/ok", response("200 OK", "", "content")),
        ("/relative", redirect("/ok")),
        (
            "/to-other-port",
            redirect(&format!("http://127.0.0.1:{other}/secret")),
        ),
        ("/to-metadata", redirect("http://169.254.169.254/latest")),
        ("/to-file", redirect("file:///etc/passwd")),
        ("/loop", redirect("/loop")),
        ("/503", response("503 Service Unavailable", "", "")),
        ("/403", response("403 Forbidden", "", "")),
        ("/418", response("418 Teapot", "", "")),
    ])
    .await;
    let fixture = fixture(&[format!("127.0.0.1:{port}")], 1);
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(fixture.load(&at("/ok")).await.unwrap(), b"content");
    assert_eq!(fixture.load(&at("/relative")).await.unwrap(), b"content");
    let (authentication, validation) = (ErrorCategory::Authentication, ErrorCategory::Validation);
    fixture
        .refused(&at("/to-other-port"), authentication, "not public")
        .await;
    fixture
        .refused(&at("/to-metadata"), authentication, "169.254.169.254")
        .await;
    fixture
        .refused(&at("/to-file"), validation, "not http(s)")
        .await;
    fixture
        .refused(&at("/loop"), validation, "redirects more than")
        .await;
    fixture
        .refused(&at("/403"), authentication, "not permitted")
        .await;
    fixture
        .refused(&at("/gone?secret=1"), validation, "nothing at")
        .await;
    fixture.refused(&at("/418"), validation, "418").await;
    let error = fixture.load(&at("/503")).await.unwrap_err();
    assert_eq!(
        (error.category(), error.class()),
        (ErrorCategory::Network, DocumentErrorClass::Transient)
    );
    let error = error.into_extract_error();
    assert_eq!(error.stage, Stage::Loading);
    assert!(error.message.contains("tried again"), "{}", error.message);
}

#[tokio::test]
async fn broken_connections_are_transient_and_keep_secrets() {
    let lying = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_owned();
    let huge = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        BLOB_BYTES_MAX + 1
    );
    let port = serve(vec![("/lying?sig=hidden", lying), ("/huge", huge)]).await;
    let fixture = fixture(&["127.0.0.1".to_owned()], 1);
    let lying = format!("http://127.0.0.1:{port}/lying?sig=hidden");
    for address in [lying.as_str(), "http://127.0.0.1:1/?sig=hidden"] {
        let error = fixture.load(address).await.unwrap_err();
        assert_eq!(error.category(), ErrorCategory::Network, "{error}");
        assert_eq!(error.class(), DocumentErrorClass::Transient);
        assert!(!error.message().contains("hidden"), "{}", error.message());
    }
    let huge = format!("http://127.0.0.1:{port}/huge");
    fixture
        .refused(&huge, ErrorCategory::Resource, "more than")
        .await;
}

#[tokio::test]
async fn keys_of_the_blob_store_are_read_and_stay_inside() {
    let fixture = fixture(&[], 1);
    fs::create_dir_all(fixture.path("store/ns/x")).unwrap();
    fs::write(fixture.path("store/ns/x/blob"), "stored").unwrap();
    fs::write(fixture.path("secret/key"), "secret").unwrap();
    assert_eq!(fixture.load("ns/x/blob").await.unwrap(), b"stored");
    let validation = ErrorCategory::Validation;
    fixture
        .refused("../secret/key", validation, "cannot be used")
        .await;
    fixture
        .refused("ns/../../secret/key", validation, "cannot be used")
        .await;
    fixture.refused("", validation, "names nothing").await;
    fixture
        .refused("ns/missing", validation, "nothing at")
        .await;
    let cut = BlobRef {
        address: "ns/x/blob".to_owned(),
        expected_bytes: Some(7),
    };
    let error = fixture.loader.load(&cut).await.unwrap_err();
    assert!(error.message().contains("6 bytes instead of 7"), "{error}");
}

#[tokio::test]
async fn s3_objects_are_read_from_the_operators_endpoint() {
    let dated = "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\nETag: \"e\"\r\n";
    let port = serve(vec![
        (
            "/bucket/folder/key.txt",
            response("200 OK", dated, "from s3"),
        ),
        (
            "/bucket/denied",
            response(
                "403 Forbidden",
                "",
                "<Error><Code>AccessDenied</Code></Error>",
            ),
        ),
    ])
    .await;
    let fixture = fixture(&[], port);
    assert_eq!(
        fixture.load("s3://bucket/folder/key.txt").await.unwrap(),
        b"from s3"
    );
    fixture
        .refused("s3://bucket/none", ErrorCategory::Validation, "nothing at")
        .await;
    fixture
        .refused(
            "s3://bucket/denied",
            ErrorCategory::Authentication,
            "not permitted",
        )
        .await;
    fixture
        .refused("s3://bucket", ErrorCategory::Validation, "s3://bucket/key")
        .await;
    fixture
        .refused(
            "s3://evil.example:80@x/y",
            ErrorCategory::Validation,
            "s3://bucket/key",
        )
        .await;
    let access = AccessPolicy::default();
    let s3 = AmazonS3Builder::new()
        .with_region("us-east-1")
        .with_endpoint(format!("http://127.0.0.1:{port}"))
        .with_allow_http(true)
        .with_skip_signature(true);
    let store = BlobLoader::with_s3(&access, "s3://bucket/folder/", "", s3).unwrap();
    let blob = BlobRef {
        address: "key.txt".to_owned(),
        expected_bytes: Some(7),
    };
    assert_eq!(store.load(&blob).await.unwrap().as_ref(), b"from s3");
}
