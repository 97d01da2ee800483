//! Source objects.

use fettle_model::{BlobId, UnixMillis};
use fettle_ports::{BlobRecord, ObjectRecord, Page, Store, StoreError};
use serde_json::Map;

use crate::fixture::{Fixture, all, bucket, namespace, object};

fn an_object(n: u8, key: Option<&str>, sizes: &[Option<u64>]) -> ObjectRecord {
    let blobs = sizes.iter().map(|size_bytes| BlobRecord {
        blob_id: BlobId::from_entropy([n; 15]),
        property: "text".to_owned(),
        blob_type: "text".to_owned(),
        address: None,
        inline: Some("x".into()),
        filename: None,
        mime_type: None,
        size_bytes: *size_bytes,
        hash: None,
        key_prefix: None,
        metadata: Map::new(),
    });
    ObjectRecord {
        namespace_id: namespace(1),
        bucket_id: bucket(1),
        object_id: object(n),
        key_prefix: None,
        blobs: blobs.collect(),
        fields: Map::new(),
        idempotency_key: key.map(str::to_owned),
        unique_key: None,
        content_hash: None,
        skip_duplicates: false,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
    }
}

/// An object without blobs of tenant `n`'s bucket.
pub(crate) fn new_object(n: u8, id: u8) -> ObjectRecord {
    ObjectRecord {
        namespace_id: namespace(n),
        bucket_id: bucket(n),
        ..an_object(id, None, &[])
    }
}

async fn stats(fixture: &Fixture) -> (u64, u64) {
    let store = &fixture.store;
    let stats = store.object_stats(&namespace(1), &bucket(1)).await.unwrap();
    assert_eq!(stats.newest_at.is_some(), stats.objects > 0);
    (stats.objects, stats.bytes)
}

#[tokio::test]
async fn an_idempotency_key_gives_the_present_object_also_within_one_call() {
    let fixture = Fixture::new();
    let first = an_object(1, Some("k"), &[Some(3)]);
    let added = fixture
        .store
        .insert_objects(vec![first.clone()])
        .await
        .unwrap();
    assert_eq!(added, [(first.clone(), false)]);

    let (a, b) = (
        an_object(3, Some("new"), &[]),
        an_object(4, Some("new"), &[]),
    );
    let again = vec![an_object(2, Some("k"), &[Some(9)]), a.clone(), b];
    let answers = fixture.store.insert_objects(again).await.unwrap();
    assert_eq!(answers, [(first, true), (a.clone(), false), (a, true)]);
    assert_eq!(stats(&fixture).await, (2, 3));
}

#[tokio::test]
async fn an_idempotency_key_of_another_bucket_or_tenant_does_not_count() {
    let fixture = Fixture::new();
    let mut elsewhere = an_object(1, Some("k"), &[]);
    elsewhere.bucket_id = bucket(2);
    let mut others = an_object(2, Some("k"), &[]);
    others.namespace_id = namespace(2);
    let objects = vec![elsewhere, others, an_object(3, Some("k"), &[])];
    let answers = fixture.store.insert_objects(objects).await.unwrap();
    assert!(
        answers.iter().all(|(_, was_there)| !was_there),
        "{answers:?}"
    );
}

#[tokio::test]
async fn objects_are_added_all_or_none() {
    let fixture = Fixture::new();
    fixture
        .store
        .insert_objects(vec![an_object(1, None, &[])])
        .await
        .unwrap();
    let objects = vec![an_object(2, None, &[Some(5)]), an_object(1, None, &[])];
    let error = fixture.store.insert_objects(objects).await.unwrap_err();
    assert!(
        matches!(error, StoreError::AlreadyExists { kind: "object", .. }),
        "{error:?}"
    );
    assert_eq!(stats(&fixture).await, (1, 0));
}

#[tokio::test]
async fn objects_come_in_the_order_asked_for_without_those_of_others() {
    let fixture = Fixture::new();
    let mut others = an_object(9, None, &[]);
    others.namespace_id = namespace(2);
    let objects = vec![an_object(1, None, &[]), an_object(2, None, &[]), others];
    fixture.store.insert_objects(objects).await.unwrap();
    let ids = [object(2), object(7), object(9), object(1), object(2)];
    let found = fixture
        .store
        .get_objects(&namespace(1), &bucket(1), &ids)
        .await
        .unwrap();
    let found: Vec<_> = found.into_iter().map(|record| record.object_id).collect();
    assert_eq!(found, [object(2), object(1), object(2)]);
    let elsewhere = fixture
        .store
        .get_objects(&namespace(1), &bucket(2), &ids)
        .await
        .unwrap();
    assert!(elsewhere.is_empty());
}

#[tokio::test]
async fn lists_run_oldest_first_by_cursor_or_offset() {
    let fixture = Fixture::new();
    let objects = (1..=5).map(|n| an_object(n, None, &[])).collect();
    fixture.store.insert_objects(objects).await.unwrap();
    let list = |page| {
        let store = &fixture.store;
        async move {
            store
                .list_objects(&namespace(1), &bucket(1), page)
                .await
                .unwrap()
        }
    };
    let (first, total) = list(Page {
        limit: 2,
        ..Page::default()
    })
    .await;
    assert_eq!(total, 5);
    let ids: Vec<_> = first
        .iter()
        .map(|(_, record)| record.object_id.clone())
        .collect();
    assert_eq!(ids, [object(1), object(2)]);
    let (next, _) = list(Page {
        limit: 2,
        offset: 1,
        after: Some(first[1].0),
    })
    .await;
    let ids: Vec<_> = next
        .iter()
        .map(|(_, record)| record.object_id.clone())
        .collect();
    assert_eq!(ids, [object(4), object(5)]);
    assert_eq!(
        fixture
            .store
            .list_objects(&namespace(2), &bucket(1), all())
            .await
            .unwrap()
            .1,
        0
    );
}

#[tokio::test]
async fn totals_follow_inserts_updates_and_deletes() {
    let fixture = Fixture::new();
    let sizes = [Some(3), None, Some(4)];
    let objects = vec![
        an_object(1, None, &sizes),
        an_object(2, Some("k"), &[Some(10)]),
    ];
    fixture.store.insert_objects(objects).await.unwrap();
    assert_eq!(stats(&fixture).await, (2, 17));
    fixture
        .store
        .update_object(&an_object(1, None, &[Some(100)]))
        .await
        .unwrap();
    assert_eq!(stats(&fixture).await, (2, 110));
    fixture
        .store
        .delete_object(&namespace(1), &bucket(1), &object(2))
        .await
        .unwrap();
    assert_eq!(stats(&fixture).await, (1, 100));
    let counted = fixture.number("SELECT COUNT(*) FROM objects");
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn another_tenant_neither_changes_nor_deletes_an_object() {
    let fixture = Fixture::new();
    fixture
        .store
        .insert_objects(vec![an_object(1, None, &[])])
        .await
        .unwrap();
    let mut stolen = an_object(1, None, &[Some(1)]);
    stolen.namespace_id = namespace(2);
    let update = fixture.store.update_object(&stolen).await;
    assert!(matches!(update, Err(StoreError::NotFound { .. })));
    let delete = fixture
        .store
        .delete_object(&namespace(2), &bucket(1), &object(1))
        .await;
    assert!(matches!(delete, Err(StoreError::NotFound { .. })));
    assert_eq!(stats(&fixture).await, (1, 0));
}

#[tokio::test]
async fn an_update_to_a_taken_idempotency_key_is_refused() {
    let fixture = Fixture::new();
    let objects = vec![an_object(1, Some("a"), &[]), an_object(2, Some("b"), &[])];
    fixture.store.insert_objects(objects).await.unwrap();
    let taken = fixture
        .store
        .update_object(&an_object(2, Some("a"), &[]))
        .await;
    let Err(StoreError::AlreadyExists { name, .. }) = taken else {
        panic!("{taken:?}")
    };
    assert_eq!(name, "a");
}
