//! Events that the store writes itself, and their deliveries.

use fettle_core::{TimelineEntry, TimelineKind};
use fettle_model::{DeliveryId, UnixMillis, WebhookId};
use fettle_ports::{
    DeliveryFilter, DeliveryRecord, DeliveryStatus, DeliveryTarget, EventLog, Store, StoreExt,
    WebhookRecord,
};
use serde_json::{Map, Value, json};

use crate::fixture::{Fixture, all, batch, bucket, namespace, record, state, step, submit};
use crate::objects::new_object;

fn webhook(n: u8) -> WebhookRecord {
    WebhookRecord {
        namespace_id: namespace(n),
        webhook_id: WebhookId::from_entropy([n; 15]),
        webhook_name: "told".to_owned(),
        event_types: vec!["object.created".to_owned()],
        resource_types: Vec::new(),
        is_active: true,
        channels: Vec::new(),
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
    }
}

fn delivery(n: u8, target: u8, event_seq: i64) -> DeliveryRecord {
    DeliveryRecord {
        namespace_id: namespace(1),
        delivery_id: DeliveryId::from_entropy([n; 15]),
        target: DeliveryTarget::Webhook {
            webhook_id: WebhookId::from_entropy([target; 15]),
            channel: 0,
        },
        event_seq,
        event_type: "object.created".to_owned(),
        batch_id: Some(batch(1)),
        payload: json!({"n": n}),
        status: DeliveryStatus::Pending,
        attempts: Vec::new(),
        next_attempt_at: UnixMillis(100),
        created_at: UnixMillis(100),
        finished_at: None,
    }
}

async fn sources(fixture: &Fixture) -> Vec<String> {
    let events = fixture.store.pending_events(1_000).await.unwrap();
    events.into_iter().map(|event| event.source).collect()
}

#[tokio::test]
async fn changes_are_events_only_where_somebody_listens() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.insert_objects(vec![new_object(1, 1)]).await.unwrap();
    assert_eq!(sources(&fixture).await, [""; 0]);
    store.insert(&webhook(1)).await.unwrap();
    let object = new_object(1, 2);
    store.insert_objects(vec![object.clone()]).await.unwrap();
    store.insert_objects(vec![new_object(2, 3)]).await.unwrap();
    store.update_object(&object).await.unwrap();
    store
        .delete_object(&namespace(1), &bucket(1), &object.object_id)
        .await
        .unwrap();
    let expected = ["object.created", "object.updated", "object.deleted"];
    assert_eq!(sources(&fixture).await, expected);
    let events = store.pending_events(1).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].namespace_id, namespace(1));
    assert_eq!(events[0].data["object_id"], json!(object.object_id));
    assert!(events[0].at > UnixMillis(1_700_000_000_000));
}

#[tokio::test]
async fn a_batch_with_an_address_of_its_own_is_told_of_without_a_webhook() {
    let fixture = Fixture::new();
    let entry = |kind| TimelineEntry {
        at: UnixMillis(7),
        kind,
        message: "COMPLETED".to_owned(),
        tier_num: None,
        job_id: None,
        attempt_id: None,
    };
    let entries = vec![entry(TimelineKind::Note), entry(TimelineKind::BatchEnded)];
    let store = &fixture.store;
    submit(store, 1, 1).await;
    store
        .append_timeline(&batch(1), entries.clone())
        .await
        .unwrap();
    assert_eq!(sources(&fixture).await, [""; 0]);
    let told = fettle_ports::BatchRecord {
        webhook_url: Some("https://example.org".to_owned()),
        ..record(2)
    };
    store.insert_batch(&told, &[]).await.unwrap();
    let mut submitted = step(&state(2, 1));
    submitted.timeline.clear();
    store.commit(submitted).await.unwrap();
    store.append_timeline(&batch(2), entries).await.unwrap();
    let events = store.pending_events(10).await.unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].at, UnixMillis(7));
    assert_eq!(events[0].data["batch_id"], json!(batch(2)));
    assert_eq!(events[0].data["entry"]["kind"], "batch_ended");
}

#[tokio::test]
async fn events_and_deliveries_change_hands_together() {
    let fixture = Fixture::new();
    fixture.store.insert(&webhook(1)).await.unwrap();
    let none: Map<String, Value> = Map::new();
    for event_type in ["document.created", "document.deleted"] {
        fixture
            .store
            .append_event(&namespace(1), event_type, UnixMillis(5), none.clone())
            .await
            .unwrap();
        fixture
            .store
            .append_event(&namespace(2), event_type, UnixMillis(5), none.clone())
            .await
            .unwrap();
    }
    let events = fixture.store.pending_events(10).await.unwrap();
    assert_eq!(events.len(), 2, "nobody listens in the other namespace");
    let first = events[0].seq;
    let twice = vec![delivery(1, 1, first), delivery(2, 1, first)];
    fixture.store.hand_over(first, twice).await.unwrap();
    let fixture = fixture.reopen();
    assert_eq!(sources(&fixture).await, ["document.deleted"]);
    let due = fixture
        .store
        .due_deliveries(UnixMillis(100), 10, 10)
        .await
        .unwrap();
    assert_eq!(
        due,
        [delivery(1, 1, first)],
        "one event, one receiver, one delivery"
    );
    assert!(
        fixture
            .store
            .due_deliveries(UnixMillis(99), 10, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_receiver_with_many_due_deliveries_leaves_room_for_others() {
    let fixture = Fixture::new();
    let deliveries = vec![
        delivery(1, 1, 1),
        delivery(2, 1, 2),
        delivery(3, 1, 3),
        delivery(4, 2, 4),
    ];
    fixture.store.hand_over(4, deliveries).await.unwrap();
    let due = fixture
        .store
        .due_deliveries(UnixMillis(100), 2, 10)
        .await
        .unwrap();
    let seqs: Vec<i64> = due.iter().map(|it| it.event_seq).collect();
    assert_eq!(seqs, [1, 2, 4]);
    let waiting = fixture
        .store
        .waiting_deliveries(due[0].target.id())
        .await
        .unwrap();
    assert_eq!(waiting, 3);
}

#[tokio::test]
async fn deliveries_that_are_over_are_listed_until_they_are_old() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store
        .hand_over(9, vec![delivery(1, 1, 1), delivery(2, 2, 2)])
        .await
        .unwrap();
    let done = DeliveryRecord {
        status: DeliveryStatus::Delivered,
        finished_at: Some(UnixMillis(200)),
        ..delivery(1, 1, 1)
    };
    store.update_delivery(&done).await.unwrap();
    let listed = |filter: DeliveryFilter| async move {
        let (rows, total) = store
            .list_deliveries(&namespace(1), &filter, all())
            .await
            .unwrap();
        assert_eq!(rows.len() as u64, total);
        rows.into_iter()
            .map(|(_, it)| it.event_seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(DeliveryFilter::default()).await, [2, 1]);
    let delivered = DeliveryFilter {
        status: Some(DeliveryStatus::Delivered),
        ..DeliveryFilter::default()
    };
    assert_eq!(listed(delivered).await, [1]);
    let of_batch = DeliveryFilter {
        batch_id: Some(batch(2)),
        ..DeliveryFilter::default()
    };
    assert_eq!(listed(of_batch).await, [0_i64; 0]);
    let elsewhere = store
        .list_deliveries(&namespace(2), &DeliveryFilter::default(), all())
        .await
        .unwrap();
    assert_eq!(elsewhere.1, 0);
    assert_eq!(store.prune_deliveries(UnixMillis(200)).await.unwrap(), 0);
    assert_eq!(store.prune_deliveries(UnixMillis(201)).await.unwrap(), 1);
    assert_eq!(listed(DeliveryFilter::default()).await, [2]);
}
