//! Webhooks: what they may be, what is shown of them, and who sees them. `fettle-webhook` tests how they are told.

use fettle_ports::{StoreExt, WebhookChannel, WebhookRecord};
use serde_json::{Value, json};

use crate::harness::Api;

const WEBHOOKS: &str = "/v1/organizations/webhooks";
const DELIVERIES: &str = "/v1/organizations/webhook-deliveries";

fn webhook(configs: Value) -> Value {
    json!({
        "webhook_name": "told",
        "event_types": ["object.created", "batch.ended"],
        "channels": [{"channel": "webhook", "configs": configs}],
    })
}

#[tokio::test]
async fn a_secret_is_shown_once_and_credentials_never() {
    let api = Api::new().await;
    let configs =
        json!({"url": "https://example.org/hook", "headers": {"Authorization": "Bearer xyz"}});
    let made = api.ok("POST", WEBHOOKS, webhook(configs)).await;
    let secret = made["channels"][0]["configs"]["signing_secret"]
        .as_str()
        .unwrap();
    assert!(secret.starts_with("whsec_"), "{made:#}");
    assert_eq!(made["channels"][0]["configs"]["timeout"], 10.0);
    let id = made["webhook_id"].as_str().unwrap();
    let by_id = api
        .ok("GET", &format!("{WEBHOOKS}/{id}"), Value::Null)
        .await;
    let by_name = api
        .ok("GET", &format!("{WEBHOOKS}/told"), Value::Null)
        .await;
    assert_eq!(by_id, by_name);
    assert_eq!(by_id["delivery_health"]["pending"], 0);
    let listed = api
        .ok("POST", &format!("{WEBHOOKS}/list"), Value::Null)
        .await;
    for answer in [&by_id, &listed] {
        let text = answer.to_string();
        assert!(
            !text.contains(secret) && !text.contains("signing_secret"),
            "{text}"
        );
        assert!(!text.contains("xyz"), "{text}");
    }
    // What was read can be sent back: what is not shown stays.
    let kept = api
        .ok("PUT", &format!("{WEBHOOKS}/{id}"), by_id.clone())
        .await;
    assert_eq!(kept["channels"], by_id["channels"]);
    let stored: WebhookRecord = api.store.find(None, id).await.unwrap().unwrap();
    let WebhookChannel::Webhook {
        secret: present,
        headers,
        ..
    } = &stored.channels[0]
    else {
        panic!("{stored:?}")
    };
    assert_eq!(
        (present.0.as_str(), headers["authorization"].0.as_str()),
        (secret, "Bearer xyz")
    );
    let debug = format!("{stored:?}");
    assert!(!debug.contains(secret) && !debug.contains("xyz"), "{debug}");
}

#[tokio::test]
async fn a_kept_credential_does_not_go_to_another_address() {
    let api = Api::new().await;
    let configs =
        json!({"url": "https://example.org/hook", "headers": {"authorization": "Bearer xyz"}});
    api.ok("POST", WEBHOOKS, webhook(configs)).await;
    let moved = json!({"url": "https://example.com/", "headers": {"authorization": "********"}});
    let error = api
        .refused(422, "PUT", &format!("{WEBHOOKS}/told"), webhook(moved))
        .await;
    assert!(
        error["message"].as_str().unwrap().contains("give it again"),
        "{error:#}"
    );
}

#[tokio::test]
async fn slacks_address_is_a_credential() {
    let api = Api::new().await;
    let slack = |url: &str| {
        let configs = json!({"webhook_url": url, "channel": "#ops"});
        json!({"webhook_name": "s", "event_types": ["alert.triggered"], "channels": [{"channel": "slack", "configs": configs}]})
    };
    let made = api
        .ok(
            "POST",
            WEBHOOKS,
            slack("https://hooks.slack.com/services/T0/secret"),
        )
        .await;
    assert_eq!(
        made["channels"][0]["configs"]["webhook_url"],
        "https://hooks.slack.com/********"
    );
    let kept = api.ok("PUT", &format!("{WEBHOOKS}/s"), made.clone()).await;
    assert_eq!(kept["channels"], made["channels"]);
}

#[tokio::test]
async fn misfits_are_refused_with_their_place() {
    let api = Api::new().await;
    let refused = async |body: Value, words: &str| {
        let error = api.refused(422, "POST", WEBHOOKS, body).await;
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    };
    let url = |url: &str| webhook(json!({ "url": url }));
    refused(url("http://169.254.169.254/latest"), "not public").await;
    refused(url("http://10.0.0.1/"), "body.channels.0.configs.url").await;
    refused(url("http://[::1]/"), "--allow-webhook-host").await;
    refused(url("http://0x7f.0.0.2/"), "not public").await;
    refused(url("file:///etc/passwd"), "http://").await;
    refused(url("https://user:pass@example.org/"), "user").await;
    refused(webhook(json!({})), "url").await;
    refused(
        webhook(json!({"url": "https://a.org", "signing_secret": "short"})),
        "16",
    )
    .await;
    refused(
        webhook(json!({"url": "https://a.org", "timeout": 31})),
        "timeout",
    )
    .await;
    refused(
        webhook(json!({"url": "https://a.org", "username": "x"})),
        "username",
    )
    .await;
    refused(
        webhook(json!({"url": "https://a.org", "payload_template": {}})),
        "payload_template",
    )
    .await;
    for name in ["Host", "webhook-signature", "a b"] {
        let configs = json!({"url": "https://a.org", "headers": {name: "x"}});
        refused(webhook(configs), "cannot be set").await;
    }
    let configs = json!({"url": "https://a.org", "headers": {"x": "a\nb"}});
    refused(webhook(configs), "no header may have").await;
    let with = |key: &str, value: Value| {
        let mut body = url("https://a.org");
        body[key] = value;
        body
    };
    refused(
        with("event_types", json!(["object.eaten"])),
        "object.created",
    )
    .await;
    refused(with("event_types", json!([])), "event_types").await;
    refused(with("channels", json!([])), "channels").await;
    refused(with("resource_types", json!(["taxonomy"])), "collection").await;
    refused(with("webhook_nam", json!("x")), "webhook_nam").await;
    let email = json!([{"channel": "email", "configs": {"to_addresses": ["a@b.c"]}}]);
    refused(with("channels", email), "email").await;
    api.ok("POST", WEBHOOKS, url("https://a.org")).await;
    api.refused(409, "POST", WEBHOOKS, url("https://a.org"))
        .await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let api = Api::new().await;
    for n in 0..5 {
        let mut body = webhook(json!({"url": "http://127.0.0.1:9/"}));
        body["webhook_name"] = json!(format!("w{n}"));
        body["is_active"] = json!(n % 2 == 0);
        api.ok("POST", WEBHOOKS, body).await;
    }
    let list = async |query: &str, body: Value| {
        let answer = api
            .ok("POST", &format!("{WEBHOOKS}/list{query}"), body)
            .await;
        let names = answer["results"].as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|it| it["webhook_name"].as_str().unwrap().into())
            .collect();
        (
            names,
            answer["pagination"]["next_cursor"].clone(),
            answer["total"].clone(),
        )
    };
    let (names, _, total) = list("", json!({"is_active": true})).await;
    assert_eq!((names.len(), total), (3, json!(3)));
    assert_eq!(
        list("", json!({"event_type": "document.created"}))
            .await
            .0
            .len(),
        0
    );
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let (names, next, _) = list(&query, Value::Null).await;
        seen.extend(names);
        let Some(next) = next.as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["w4", "w3", "w2", "w1", "w0"]);
}

#[tokio::test]
async fn another_namespace_sees_and_changes_nothing() {
    let api = Api::new().await;
    let body = webhook(json!({"url": "https://example.org/hook"}));
    let made = api.ok("POST", WEBHOOKS, body.clone()).await;
    let id = made["webhook_id"].as_str().unwrap();
    api.ok("POST", "/v1/namespaces", json!({"namespace_name": "other"}))
        .await;
    let other = async |method: &str, path: &str, body: Value| {
        api.call_as(&api.key, Some("other"), method, path, body)
            .await
    };
    for name in [id, "told"] {
        let path = format!("{WEBHOOKS}/{name}");
        assert_eq!(other("GET", &path, Value::Null).await.0, 404);
        assert_eq!(other("PUT", &path, body.clone()).await.0, 404);
        assert_eq!(other("DELETE", &path, Value::Null).await.0, 404);
        let query = format!("{DELIVERIES}?webhook_id={name}");
        assert_eq!(other("GET", &query, Value::Null).await.0, 404);
    }
    let listed = other("POST", &format!("{WEBHOOKS}/list"), Value::Null)
        .await
        .1;
    assert_eq!(listed["total"], 0);
    let log = other("GET", DELIVERIES, Value::Null).await.1;
    assert_eq!(log["total_count"], 0);
    assert_eq!(
        other("POST", &format!("{DELIVERIES}/dlv_1/retry"), Value::Null)
            .await
            .0,
        404
    );
    api.ok("DELETE", &format!("{WEBHOOKS}/told"), Value::Null)
        .await;
    api.refused(404, "GET", &format!("{WEBHOOKS}/{id}"), Value::Null)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_an_address_of_its_own_and_shows_its_secret_once() {
    let api = Api::new().await;
    let (bucket, _) = api.bucket_and_collection().await;
    let objects = api.objects(&bucket, &["one"]).await;
    let batch = api
        .ok(
            "POST",
            &format!("/v1/buckets/{bucket}/batches"),
            json!({"object_ids": objects}),
        )
        .await;
    let batch = batch["batch_id"].as_str().unwrap();
    let submit = format!("/v1/batches/{batch}/submit");
    let private = json!({"webhook_url": "http://192.168.1.1/"});
    api.refused(422, "POST", &submit, private).await;
    let task = api
        .ok(
            "POST",
            &submit,
            json!({"webhook_url": "http://127.0.0.1:9/hook"}),
        )
        .await;
    let secret = task["additional_data"]["webhook_signing_secret"]
        .as_str()
        .unwrap();
    assert!(secret.starts_with("whsec_"));
    let task_id = task["task_id"].as_str().unwrap();
    let again = api
        .ok("GET", &format!("/v1/tasks/{task_id}"), Value::Null)
        .await;
    assert!(!again.to_string().contains("whsec_"), "{again:#}");
    let shown = api
        .ok("GET", &format!("/v1/batches/{batch}"), Value::Null)
        .await;
    assert_eq!(shown["webhook_url"], "http://127.0.0.1:9/hook");
}
