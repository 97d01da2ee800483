//! `Idempotency-Key`: done once, answered each time; and limits on rates.

use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::{Value, json};

use crate::harness::{Api, json_of};

struct Sent<'a> {
    key: &'a str,
    namespace: &'a str,
    path: &'a str,
    body: Value,
    idempotency_key: &'a str,
}

impl Sent<'_> {
    fn new(path: &str, body: Value) -> Sent<'_> {
        Sent {
            key: "",
            namespace: "default",
            path,
            body,
            idempotency_key: "once",
        }
    }
}

async fn send(api: &Api, sent: Sent<'_>) -> (u16, bool, Value) {
    let key = if sent.key.is_empty() {
        &api.key
    } else {
        sent.key
    };
    let request = Request::builder()
        .method("POST")
        .uri(sent.path)
        .header("authorization", format!("Bearer {key}"))
        .header("x-namespace", sent.namespace)
        .header("idempotency-key", sent.idempotency_key)
        .body(Body::from(sent.body.to_string()));
    let response: Response<Body> = api.send(request.unwrap()).await;
    let replayed = response.headers().contains_key("idempotent-replayed");
    (
        response.status().as_u16(),
        replayed,
        json_of(response).await,
    )
}

fn bucket(name: &str) -> Value {
    let schema = json!({"properties": {"body": {"type": "text"}}});
    json!({"bucket_name": name, "bucket_schema": schema})
}

#[tokio::test]
async fn a_request_that_comes_again_is_answered_again_and_not_done_again() {
    let api = Api::new().await;
    let first = send(&api, Sent::new("/v1/buckets", bucket("one"))).await;
    assert_eq!((first.0, first.1), (200, false), "{:#}", first.2);
    let again = send(&api, Sent::new("/v1/buckets", bucket("one"))).await;
    assert_eq!(again, (200, true, first.2));
    let other = send(&api, Sent::new("/v1/buckets", bucket("two"))).await;
    assert_eq!(other.0, 422, "{:#}", other.2);
    assert_eq!(
        other.2["error"]["details"]["reason"],
        "idempotency_key_reused"
    );
    let listed = api.ok("POST", "/v1/buckets/list", Value::Null).await;
    assert_eq!(listed["total_count"], 1);
}

#[tokio::test]
async fn keys_of_other_callers_namespaces_and_paths_are_other_keys() {
    let api = Api::new().await;
    api.ok("POST", "/v1/namespaces", json!({"namespace_name": "other"}))
        .await;
    let scopes = json!([{"resource_type": "namespace", "resource_id": "other"}]);
    let path = "/v1/organizations/users/ann@example.org/api-keys";
    let made = api
        .ok("POST", path, json!({"name": "k", "scopes": scopes}))
        .await;
    let anns = made["key"].as_str().unwrap();
    send(&api, Sent::new("/v1/buckets", bucket("one"))).await;
    let elsewhere = Sent {
        namespace: "other",
        ..Sent::new("/v1/buckets", bucket("one"))
    };
    let elsewhere = send(&api, elsewhere).await;
    assert_eq!(
        (elsewhere.0, elsewhere.1),
        (200, false),
        "{:#}",
        elsewhere.2
    );
    let by_ann = Sent {
        key: anns,
        namespace: "other",
        ..Sent::new("/v1/buckets", bucket("two"))
    };
    let by_ann = send(&api, by_ann).await;
    assert_eq!((by_ann.0, by_ann.1), (200, false), "{:#}", by_ann.2);
    let hers = Sent {
        key: anns,
        namespace: "default",
        ..Sent::new("/v1/buckets", bucket("one"))
    };
    assert_eq!(
        send(&api, hers).await.0,
        404,
        "another's answer is not hers"
    );
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again_mended() {
    let api = Api::new().await;
    let refused = send(&api, Sent::new("/v1/buckets", json!({"bucket_nam": "x"}))).await;
    assert_eq!(refused.0, 422);
    let mended = send(&api, Sent::new("/v1/buckets", bucket("x"))).await;
    assert_eq!((mended.0, mended.1), (200, false), "{:#}", mended.2);
    for bad in [String::new(), "x".repeat(256)] {
        let sent = Sent {
            idempotency_key: &bad,
            ..Sent::new("/v1/buckets", bucket("y"))
        };
        assert_eq!(send(&api, sent).await.0, 400);
    }
}

#[tokio::test]
async fn an_answer_is_given_again_without_its_secret() {
    let api = Api::new().await;
    let path = "/v1/organizations/users/ann@example.org/api-keys";
    let first = send(&api, Sent::new(path, json!({"name": "k"}))).await.2;
    let (status, replayed, again) = send(&api, Sent::new(path, json!({"name": "k"}))).await;
    assert_eq!((status, replayed), (200, true), "{again:#}");
    assert_eq!(again["key_id"], first["key_id"]);
    assert!(!again.to_string().contains(first["key"].as_str().unwrap()));
}

#[tokio::test]
async fn requests_at_the_same_time_are_done_once() {
    let api = Api::new().await;
    let all = (0..8).map(|_| send(&api, Sent::new("/v1/buckets", bucket("one"))));
    let answers = futures_util::future::join_all(all).await;
    let done = answers
        .iter()
        .filter(|(status, replayed, _)| (*status, *replayed) == (200, false));
    assert_eq!(done.count(), 1, "{answers:#?}");
    for (status, replayed, answer) in &answers {
        let is_fine = *status == 200 || (*status == 409 && !replayed);
        assert!(is_fine, "{answer:#}");
        if *status == 409 {
            assert_eq!(
                answer["error"]["details"]["reason"], "in_progress",
                "{answer:#}"
            );
        }
    }
}
