//! What drivers and workers on other machines fetch with an attempt's token, and what they do not get.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::harness::Api;
use crate::run::{Driver, submitted};

impl Driver<'_> {
    /// The status of a request with the attempt's own token.
    async fn status(&self, method: &str, what: &str) -> u16 {
        let request = Request::builder()
            .method(method)
            .uri(format!(
                "/v1/internal/attempts/{}/{what}",
                self.spec.attempt_id
            ))
            .header("authorization", format!("Bearer {}", self.token));
        let request = request.body(Body::from("content")).unwrap();
        self.api.send(request).await.status().as_u16()
    }
}

#[tokio::test]
async fn an_attempt_gets_its_spec_and_its_tenants_blobs_and_nothing_else() {
    let api = Api::new().await;
    submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    let (manifest, namespace) = (&driver.spec.manifest.key, &driver.spec.namespace_id);
    assert_eq!(driver.status("GET", "spec").await, 200);
    assert_eq!(
        driver.status("GET", &format!("blobs/{manifest}")).await,
        200
    );
    for strange in [
        "manifests/ns_0000000000000000000000aa/b/t0/j.parquet",
        "objects/bkt_000000000000000000000000/o/0",
        "secret",
        "artifacts/other/x",
    ] {
        let path = format!("blobs/{strange}");
        assert_eq!(driver.status("GET", &path).await, 404, "{strange}");
        assert_eq!(driver.status("PUT", &path).await, 404, "{strange}");
    }
    // What has been written down is not for workers to change.
    assert_eq!(
        driver.status("PUT", &format!("blobs/{manifest}")).await,
        404
    );
    let artifact = format!("blobs/artifacts/{namespace}/col/doc/thumbnail.jpeg");
    assert_eq!(driver.status("PUT", &artifact).await, 201);
    assert_eq!(driver.status("GET", &artifact).await, 200);
    assert_eq!(driver.status("GET", "model/config.json").await, 404);
    assert_eq!(driver.status("GET", "model/..%2F..%2Fsecret").await, 404);
}

#[tokio::test]
async fn the_backend_tells_of_itself_at_an_address_that_nobody_guesses() {
    let api = Api::new().await;
    let tell = async |token: &str| {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/v1/internal/backend-events/{token}"));
        let request = request.body(Body::from("no event")).unwrap();
        api.send(request).await.status().as_u16()
    };
    assert_eq!(tell(&api.control.config().backend_token()).await, 204);
    for wrong in ["x", &"0".repeat(64)] {
        assert_eq!(tell(wrong).await, 404);
    }
}

#[tokio::test]
async fn an_attempt_that_is_to_end_gets_no_spec() {
    let api = Api::new().await;
    let (path, ..) = submitted(&api, &["one"]).await;
    let driver = Driver::next(&api).await;
    api.ok("POST", &format!("{path}/cancel"), json!({})).await;
    assert_eq!(driver.status("GET", "spec").await, 404);
}
