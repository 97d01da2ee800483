//! Deliveries from a real store to a real receiver.

#![expect(
    clippy::unwrap_used,
    reason = "all of this crate is a test; what helpers unwrap is what they assert"
)]

mod receiver;
mod sender;

use fettle_model::{UnixMillis, WebhookId};
use fettle_ports::{DeliveryStatus, ResourceKind, Secret, WebhookChannel, WebhookRecord};
use fettle_webhook::signature;

use crate::receiver::Receiver;
use crate::sender::{Sender, namespace};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn channel(url: String) -> WebhookChannel {
    let headers = [("x-own".to_owned(), Secret("mine".to_owned()))];
    WebhookChannel::Webhook {
        url,
        secret: Secret(SECRET.to_owned()),
        headers: headers.into(),
        timeout_ms: 2_000,
    }
}

#[tokio::test]
async fn an_event_reaches_its_receiver_signed() {
    let receiver = Receiver::start(&[200]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    sender
        .webhook(1, vec![channel(receiver.url("/hook"))])
        .await;
    sender.happen("document.created").await;
    let got = receiver.wait_for(1).await.remove(0);
    let id = got.header("webhook-id");
    let timestamp_s: i64 = got.header("webhook-timestamp").parse().unwrap();
    let expected = signature(SECRET, &id, timestamp_s, &got.body);
    assert_eq!(got.header("webhook-signature"), expected);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("x-own"), "mine");
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(body["type"], "document.created");
    assert_eq!(body["namespace_id"], namespace().as_str());
    let delivery = sender
        .wait_for(DeliveryStatus::Delivered, 1)
        .await
        .remove(0);
    assert_eq!(delivery.delivery_id.as_str(), id);
    assert_eq!(delivery.attempts[0].status, Some(200));
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_again_under_the_same_id() {
    let receiver = Receiver::start(&[500, 302, 200]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    sender
        .webhook(1, vec![channel(receiver.url("/hook"))])
        .await;
    sender.happen("document.created").await;
    let got = receiver.wait_for(3).await;
    let ids: Vec<String> = got.iter().map(|it| it.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(got[2].header("webhook-attempt"), "3");
    let delivery = sender
        .wait_for(DeliveryStatus::Delivered, 1)
        .await
        .remove(0);
    let statuses: Vec<_> = delivery.attempts.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [Some(500), Some(302), Some(200)]);
    let why = delivery.attempts[1].error.as_deref().unwrap();
    assert!(why.contains("redirects are not followed"), "{why}");
    assert_eq!(receiver.elsewhere(), 0, "the redirect was followed");
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_asked_again() {
    let receiver = Receiver::start(&[410]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    sender
        .webhook(1, vec![channel(receiver.url("/hook"))])
        .await;
    sender.happen("document.created").await;
    let delivery = sender.wait_for(DeliveryStatus::Failed, 1).await.remove(0);
    assert_eq!(delivery.attempts.len(), 1);
}

#[tokio::test]
async fn a_private_address_is_not_connected_to() {
    let receiver = Receiver::start(&[200]).await;
    let sender = Sender::new(&[]).await;
    let by_name = receiver.url("/hook").replace("127.0.0.1", "localhost");
    let channels = vec![channel(receiver.url("/hook")), channel(by_name)];
    sender.webhook(1, channels).await;
    sender.happen("document.created").await;
    for delivery in sender.wait_for(DeliveryStatus::Failed, 2).await {
        let why = delivery.attempts[0].error.as_deref().unwrap();
        assert!(why.contains("not public"), "{why}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn only_what_a_webhook_asks_for_is_sent_to_it() {
    let receiver = Receiver::start(&[200]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    let url = |path| vec![channel(receiver.url(path))];
    sender.webhook(1, url("/all")).await;
    let only_documents = WebhookRecord {
        resource_types: vec!["document".to_owned()],
        ..Sender::record(2, url("/documents"))
    };
    sender.insert(&only_documents).await;
    let off = WebhookRecord {
        is_active: false,
        ..Sender::record(3, url("/off"))
    };
    sender.insert(&off).await;
    sender.happen("document.created").await;
    sender.happen("document.updated").await;
    sender.happen("collection.created").await;
    let mut paths: Vec<String> = receiver
        .wait_for(3)
        .await
        .into_iter()
        .map(|it| it.path)
        .collect();
    paths.sort();
    assert_eq!(paths, ["/all", "/all", "/documents"]);
    assert_eq!(sender.wait_for(DeliveryStatus::Delivered, 3).await.len(), 3);
}

#[tokio::test]
async fn what_happened_before_a_webhook_was_made_is_not_sent_to_it() {
    let receiver = Receiver::start(&[200]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    sender
        .webhook(1, vec![channel(receiver.url("/hook"))])
        .await;
    let later = WebhookRecord {
        created_at: UnixMillis(i64::MAX),
        ..Sender::record(2, vec![channel(receiver.url("/later"))])
    };
    sender.insert(&later).await;
    sender.happen("document.created").await;
    sender.wait_for(DeliveryStatus::Delivered, 1).await;
    let paths: Vec<_> = receiver
        .wait_for(1)
        .await
        .iter()
        .map(|got| got.path.clone())
        .collect();
    assert_eq!(paths, ["/hook"]);
    assert_eq!(sender.count(DeliveryStatus::Pending).await, 0);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_leaves_room_for_others() {
    let slow = Receiver::start(&[]).await;
    let quick = Receiver::start(&[200]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    sender.webhook(1, vec![channel(slow.url("/slow"))]).await;
    sender.webhook(2, vec![channel(quick.url("/quick"))]).await;
    for _ in 0..20 {
        sender.happen("document.created").await;
    }
    quick.wait_for(20).await;
    let (most, answered) = (
        slow.connections(),
        sender.count(DeliveryStatus::Delivered).await,
    );
    assert!(
        most <= 8,
        "{most} connections to a receiver that does not answer"
    );
    assert!(answered >= 1);
}

#[tokio::test]
async fn what_was_not_sent_before_the_end_is_sent_after_the_next_start() {
    let receiver = Receiver::start(&[200]).await;
    let mut sender = Sender::new(&["127.0.0.1"]).await;
    sender
        .webhook(1, vec![channel(receiver.url("/hook"))])
        .await;
    sender.stop().await;
    for _ in 0..5 {
        sender.happen("document.created").await;
    }
    assert_eq!(receiver.connections(), 0);
    sender.start();
    let got = receiver.wait_for(5).await;
    sender.wait_for(DeliveryStatus::Delivered, 5).await;
    let mut ids: Vec<String> = got.iter().map(|it| it.header("webhook-id")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn deliveries_to_a_deleted_webhook_are_given_up() {
    let receiver = Receiver::start(&[500]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    sender
        .webhook(1, vec![channel(receiver.url("/hook"))])
        .await;
    sender.happen("document.created").await;
    receiver.wait_for(1).await;
    let id = WebhookId::from_entropy([1; 15]);
    sender
        .store()
        .delete_resource(ResourceKind::Webhook, &namespace(), id.as_str())
        .await
        .unwrap();
    let delivery = sender.wait_for(DeliveryStatus::Failed, 1).await.remove(0);
    let last = delivery.attempts.last().unwrap();
    assert_eq!(last.error.as_deref(), Some("the webhook was deleted"));
}

#[tokio::test]
async fn slack_gets_a_sentence() {
    let receiver = Receiver::start(&[200]).await;
    let sender = Sender::new(&["127.0.0.1"]).await;
    let slack = WebhookChannel::Slack {
        url: Secret(receiver.url("/services/T0")),
        fields: [("username".to_owned(), "fettle".to_owned())].into(),
    };
    sender.webhook(1, vec![slack]).await;
    sender.happen("document.created").await;
    let got = receiver.wait_for(1).await.remove(0);
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(body["username"], "fettle");
    assert!(
        body["text"].as_str().unwrap().contains("document.created"),
        "{body}"
    );
}
