//! Records by id and name.

use fettle_model::UnixMillis;
use fettle_ports::{
    ApiKeyRecord, BucketRecord, NamespaceRecord, Page, Resource, ResourceKind, Store, StoreError,
    StoreExt,
};
use serde_json::{Map, Value, json};

use crate::fixture::{Fixture, all, bucket, namespace};

fn a_bucket(tenant: u8, n: u8, name: &str) -> BucketRecord {
    BucketRecord {
        namespace_id: namespace(tenant),
        bucket_id: bucket(n),
        bucket_name: name.to_owned(),
        description: None,
        bucket_schema: json!({}),
        unique_key: None,
        healing: None,
        metadata: Map::new(),
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
    }
}

fn a_namespace(n: u8, name: &str) -> NamespaceRecord {
    NamespaceRecord {
        namespace_id: namespace(n),
        namespace_name: name.to_owned(),
        description: None,
        owner: None,
        healing: None,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
    }
}

async fn found(fixture: &Fixture, tenant: Option<u8>, wanted: &str) -> Option<BucketRecord> {
    fixture
        .store
        .find(tenant.map(namespace).as_ref(), wanted)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_record_is_found_by_id_and_by_name_and_survives_a_restart() {
    let fixture = Fixture::new();
    let record = a_bucket(1, 7, "films");
    fixture.store.insert(&record).await.unwrap();
    let fixture = fixture.reopen();
    for wanted in [record.id(), "films"] {
        assert_eq!(found(&fixture, Some(1), wanted).await, Some(record.clone()));
        assert_eq!(found(&fixture, None, wanted).await, Some(record.clone()));
    }
    assert_eq!(
        found(&fixture, Some(1), "Films").await,
        None,
        "names are exact"
    );
}

#[tokio::test]
async fn another_tenant_neither_finds_lists_changes_nor_deletes_a_record() {
    let fixture = Fixture::new();
    let record = a_bucket(1, 7, "films");
    fixture.store.insert(&record).await.unwrap();
    for wanted in [record.id(), "films"] {
        assert_eq!(found(&fixture, Some(2), wanted).await, None);
    }
    let (listed, total) = fixture
        .store
        .list::<BucketRecord>(Some(&namespace(2)), None, all())
        .await
        .unwrap();
    assert!(listed.is_empty() && total == 0);

    let stolen = BucketRecord {
        namespace_id: namespace(2),
        ..a_bucket(1, 7, "mine")
    };
    let error = fixture.store.update(&stolen).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound { kind: "bucket", .. }),
        "{error:?}"
    );
    let delete = fixture
        .store
        .delete_resource(ResourceKind::Bucket, &namespace(2), record.id())
        .await;
    assert!(matches!(delete, Err(StoreError::NotFound { .. })));
    assert_eq!(found(&fixture, Some(1), "films").await, Some(record));
}

#[tokio::test]
async fn a_name_is_unique_within_its_namespace_and_free_in_others() {
    let fixture = Fixture::new();
    fixture
        .store
        .insert(&a_bucket(1, 1, "films"))
        .await
        .unwrap();
    fixture
        .store
        .insert(&a_bucket(2, 2, "films"))
        .await
        .unwrap();
    fixture
        .store
        .insert(&a_bucket(1, 3, "books"))
        .await
        .unwrap();
    for taken in [
        fixture.store.insert(&a_bucket(1, 4, "films")).await,
        fixture.store.update(&a_bucket(1, 3, "films")).await,
    ] {
        let Err(StoreError::AlreadyExists {
            kind: "bucket",
            name,
        }) = taken
        else {
            panic!("{taken:?}");
        };
        assert_eq!(name, "films");
    }
    let own = found(&fixture, Some(2), "films").await.unwrap();
    assert_eq!(own.bucket_id, bucket(2));
}

#[tokio::test]
async fn names_of_namespaces_and_keys_are_unique_over_all_namespaces() {
    let fixture = Fixture::new();
    fixture.store.insert(&a_namespace(1, "main")).await.unwrap();
    let again = fixture.store.insert(&a_namespace(2, "main")).await;
    assert!(
        matches!(again, Err(StoreError::AlreadyExists { .. })),
        "{again:?}"
    );
    let by_name: Option<NamespaceRecord> = fixture.store.find(None, "main").await.unwrap();
    assert_eq!(by_name.unwrap().namespace_id, namespace(1));
    let others: Option<NamespaceRecord> = fixture
        .store
        .find(Some(&namespace(2)), "main")
        .await
        .unwrap();
    assert_eq!(others, None);
    let key: Option<ApiKeyRecord> = fixture.store.find(None, "main").await.unwrap();
    assert_eq!(key, None, "kinds do not mix");
}

#[tokio::test]
async fn a_record_named_like_anothers_id_does_not_hide_it() {
    let fixture = Fixture::new();
    fixture
        .store
        .insert(&a_bucket(1, 1, bucket(2).as_str()))
        .await
        .unwrap();
    fixture.store.insert(&a_bucket(1, 2, "real")).await.unwrap();
    let record = found(&fixture, Some(1), bucket(2).as_str()).await.unwrap();
    assert_eq!(record.bucket_name, "real");
}

#[tokio::test]
async fn an_update_replaces_the_record_and_its_name() {
    let fixture = Fixture::new();
    fixture.store.insert(&a_bucket(1, 1, "old")).await.unwrap();
    let renamed = BucketRecord {
        description: Some("d".to_owned()),
        ..a_bucket(1, 1, "new")
    };
    fixture.store.update(&renamed).await.unwrap();
    assert_eq!(found(&fixture, Some(1), "old").await, None);
    assert_eq!(found(&fixture, Some(1), "new").await, Some(renamed));
    let gone = fixture.store.update(&a_bucket(1, 9, "x")).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_deleted_record_is_gone_and_its_name_free() {
    let fixture = Fixture::new();
    fixture
        .store
        .insert(&a_bucket(1, 1, "films"))
        .await
        .unwrap();
    let delete = || {
        let store = &fixture.store;
        async move {
            store
                .delete_resource(ResourceKind::Bucket, &namespace(1), bucket(1).as_str())
                .await
        }
    };
    delete().await.unwrap();
    assert!(matches!(delete().await, Err(StoreError::NotFound { .. })));
    fixture
        .store
        .insert(&a_bucket(1, 2, "films"))
        .await
        .unwrap();
}

async fn names(fixture: &Fixture, search: Option<&str>, page: Page) -> (Vec<String>, u64, i64) {
    let (rows, total) = fixture
        .store
        .list::<BucketRecord>(Some(&namespace(1)), search, page)
        .await
        .unwrap();
    let last = rows.last().map_or(0, |(seq, _)| *seq);
    (
        rows.into_iter()
            .map(|(_, record)| record.bucket_name)
            .collect(),
        total,
        last,
    )
}

#[tokio::test]
async fn lists_run_newest_first_by_cursor_or_offset_and_search_ignores_case() {
    let fixture = Fixture::new();
    for (n, name) in (1..).zip(["Alpha", "beta", "ALPINE", "100%_x", "Äpfel"]) {
        fixture.store.insert(&a_bucket(1, n, name)).await.unwrap();
    }
    let (first, total, cursor) = names(
        &fixture,
        None,
        Page {
            limit: 2,
            ..Page::default()
        },
    )
    .await;
    assert_eq!(
        (first, total),
        (vec!["Äpfel".to_owned(), "100%_x".to_owned()], 5)
    );
    fixture
        .store
        .insert(&a_bucket(1, 9, "newer"))
        .await
        .unwrap();
    let next = Page {
        limit: 2,
        after: Some(cursor),
        ..Page::default()
    };
    let (second, total, _) = names(&fixture, None, next).await;
    assert_eq!(
        (second, total),
        (vec!["ALPINE".to_owned(), "beta".to_owned()], 6)
    );
    let (by_offset, ..) = names(
        &fixture,
        None,
        Page {
            limit: 1,
            offset: 5,
            after: None,
        },
    )
    .await;
    assert_eq!(by_offset, ["Alpha"]);

    assert_eq!(
        names(&fixture, Some("aLp"), all()).await.0,
        ["ALPINE", "Alpha"]
    );
    assert_eq!(
        names(&fixture, Some("%"), all()).await.0,
        ["100%_x"],
        "no wildcards"
    );
    assert_eq!(names(&fixture, Some("äP"), all()).await.0, ["Äpfel"]);
    assert_eq!(
        names(
            &fixture,
            Some("alp"),
            Page {
                limit: 1,
                ..Page::default()
            }
        )
        .await
        .1,
        2
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_named_as_corrupt() {
    let fixture = Fixture::new();
    fixture
        .store
        .insert(&a_bucket(1, 1, "films"))
        .await
        .unwrap();
    fixture.tamper("UPDATE resources SET body = '{broken'");
    let read: Result<Option<Value>, _> = fixture
        .store
        .find_resource(ResourceKind::Bucket, None, "films")
        .await;
    assert!(
        matches!(read, Err(StoreError::Corrupt { kind: "bucket", .. })),
        "{read:?}"
    );
}
