//! Keys of users: what they may do, what they see, and that they end.

use serde_json::{Value, json};

use crate::harness::Api;

const KEYS: &str = "/v1/organizations/users/ann@example.org/api-keys";

#[tokio::test]
async fn a_key_may_do_what_it_was_given_in_its_namespaces_alone() {
    let api = Api::new().await;
    for name in ["ours", "theirs"] {
        api.ok("POST", "/v1/namespaces", json!({"namespace_name": name}))
            .await;
    }
    let scopes = json!([{"resource_type": "namespace", "resource_id": "ours"}]);
    let body = json!({"name": "reader", "permissions": ["read"], "scopes": scopes});
    let made = api.ok("POST", KEYS, body.clone()).await;
    let key = made["key"].as_str().unwrap();
    let as_key = async |namespace: &str, method: &str, path: &str| {
        api.call_as(key, Some(namespace), method, path, Value::Null)
            .await
            .0
    };
    assert_eq!(as_key("ours", "GET", "/v1/buckets").await, 200);
    assert_eq!(as_key("ours", "POST", "/v1/buckets/list").await, 200);
    assert_eq!(as_key("ours", "POST", "/v1/buckets").await, 403);
    assert_eq!(as_key("ours", "DELETE", "/v1/buckets/x").await, 403);
    assert_eq!(as_key("theirs", "GET", "/v1/buckets").await, 404);
    assert_eq!(as_key("default", "GET", "/v1/buckets").await, 404);
    assert_eq!(
        as_key("ours", "GET", "/v1/namespaces/theirs/stats").await,
        404
    );
    assert_eq!(
        as_key("ours", "GET", KEYS).await,
        403,
        "a user's key manages no keys"
    );
    api.refused(409, "POST", KEYS, body).await;
    let listed = api.ok("GET", KEYS, Value::Null).await;
    assert!(listed["results"][0]["last_used_at"].is_string());
    assert!(
        !listed.to_string().contains(key),
        "the secret is shown once"
    );
}

#[tokio::test]
async fn a_rotated_revoked_or_expired_key_works_no_more() {
    let api = Api::new().await;
    let made = api.ok("POST", KEYS, json!({"name": "k"})).await;
    let old = made["key"].as_str().unwrap();
    let works = async |key: &str| {
        api.call_as(key, None, "GET", "/v1/namespaces", Value::Null)
            .await
            .0
    };
    assert_eq!(works(old).await, 200);
    let rotated = api
        .ok("POST", &format!("{KEYS}/k/rotate"), Value::Null)
        .await;
    let new = rotated["key"].as_str().unwrap();
    assert_eq!((works(old).await, works(new).await), (401, 200));
    let past = json!({"expires_at": "2001-01-01T00:00:00Z"});
    assert_eq!(
        api.ok("PATCH", &format!("{KEYS}/k"), past).await["status"],
        "expired"
    );
    assert_eq!(works(new).await, 401);
    api.ok(
        "PATCH",
        &format!("{KEYS}/k"),
        json!({"expires_at": "2999-01-01T00:00:00Z"}),
    )
    .await;
    assert_eq!(works(new).await, 200);
    api.ok("DELETE", &format!("{KEYS}/k"), Value::Null).await;
    assert_eq!(works(new).await, 401);
    assert_eq!(api.ok("GET", KEYS, Value::Null).await["total"], 0);
    let all = format!("{KEYS}?include_revoked=true");
    assert_eq!(
        api.ok("GET", &all, Value::Null).await["results"][0]["status"],
        "revoked"
    );
}
