//! Another tenant's room does not exist, whichever way it is named.

use fettle_api::{AdminKey, Auth, AuthError, Bootstrap};
use fettle_model::{ApiKeyId, NamespaceId, UnixMillis};
use fettle_ports::{ApiKeyRecord, Clock, Entropy, NamespaceRecord, StoreExt};
use serde_json::{Value, json};

use crate::harness::Api;

struct Still;

impl Clock for Still {
    fn now(&self) -> UnixMillis {
        UnixMillis(5)
    }
}

impl Entropy for Still {
    fn bytes15(&self) -> [u8; 15] {
        [9; 15]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_names_of_another_namespace_are_not_found() {
    let api = Api::new().await;
    let (bucket, collection) = api.bucket_and_collection().await;
    let object = api.objects(&bucket, &["one"]).await.remove(0);
    let batch = api
        .ok(
            "POST",
            &format!("/v1/buckets/{bucket}/batches"),
            json!({"object_ids": [object]}),
        )
        .await;
    let batch = batch["batch_id"].as_str().unwrap();
    let task = api
        .ok("POST", &format!("/v1/batches/{batch}/submit"), Value::Null)
        .await;
    let task = task["task_id"].as_str().unwrap();
    api.ok("POST", "/v1/namespaces", json!({"namespace_name": "other"}))
        .await;
    let other = Some("other");
    let paths = [
        ("GET", format!("/v1/buckets/{bucket}")),
        ("GET", "/v1/buckets/docs".to_owned()),
        ("DELETE", format!("/v1/buckets/{bucket}")),
        ("GET", format!("/v1/buckets/{bucket}/objects/{object}")),
        ("GET", format!("/v1/collections/{collection}")),
        ("GET", format!("/v1/collections/{collection}/documents")),
        ("DELETE", "/v1/collections/chunks".to_owned()),
        ("GET", format!("/v1/batches/{batch}")),
        ("GET", format!("/v1/batches/{batch}/diagnose")),
        ("POST", format!("/v1/batches/{batch}/cancel")),
        ("POST", format!("/v1/batches/{batch}/tiers/0/retry")),
        ("DELETE", format!("/v1/batches/{batch}")),
        ("GET", format!("/v1/tasks/{task}")),
        ("DELETE", format!("/v1/tasks/{task}")),
    ];
    for (method, path) in paths {
        let (status, answer) = api
            .call_as(&api.key, other, method, &path, Value::Null)
            .await;
        assert_eq!(status, 404, "{method} {path}: {answer:#}");
    }
    for list in [
        "/v1/buckets/list",
        "/v1/collections/list",
        "/v1/batches/list",
        "/v1/tasks/list",
    ] {
        let (status, answer) = api
            .call_as(&api.key, other, "POST", list, Value::Null)
            .await;
        assert_eq!(
            (status, answer["results"].as_array().map(Vec::len)),
            (200, Some(0)),
            "{list}"
        );
    }
    let body =
        json!({"collection_name": "abc", "source": {"type": "bucket", "bucket_ids": [bucket]}});
    let (status, _) = api
        .call_as(&api.key, other, "POST", "/v1/collections", body)
        .await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_its_own_namespaces_only() {
    let api = Api::new().await;
    let key_id = ApiKeyId::from_entropy([200; 15]);
    let namespace_id = NamespaceId::from_entropy([201; 15]);
    let record = ApiKeyRecord {
        namespace_id: namespace_id.clone(),
        key_id: key_id.clone(),
        secret_hash: blake3::hash(b"fk_tenant").to_hex().to_string(),
        prefix: "fk_tena".into(),
        label: "tenant".into(),
        is_admin: false,
        user: None,
        is_default: false,
        created_at: UnixMillis(1),
    };
    api.store.insert(&record).await.unwrap();
    let own = NamespaceRecord {
        namespace_id,
        namespace_name: "mine".into(),
        description: None,
        owner: Some(key_id),
        healing: None,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
    };
    api.store.insert(&own).await.unwrap();
    let get = async |namespace: Option<&str>, path: &str| {
        api.call_as("fk_tenant", namespace, "GET", path, Value::Null)
            .await
    };
    assert_eq!(get(Some("mine"), "/v1/buckets").await.0, 200);
    assert_eq!(get(None, "/v1/buckets").await.0, 404);
    assert_eq!(get(Some("default"), "/v1/buckets").await.0, 404);
    assert_eq!(get(Some("nope"), "/v1/buckets").await.0, 404);
    assert_eq!(get(None, "/v1/namespaces/default").await.0, 404);
    let (_, list) = get(None, "/v1/namespaces").await;
    assert_eq!(list["results"].as_array().unwrap().len(), 1);
    let body = json!({"namespace_name": "second"});
    let (status, _) = api
        .call_as("fk_tenant", None, "POST", "/v1/namespaces", body)
        .await;
    assert_eq!(status, 200);
    assert_eq!(get(Some("second"), "/v1/buckets").await.0, 200);
}

async fn bootstrap(api: &Api, key: AdminKey<'_>) -> Result<Bootstrap, AuthError> {
    Auth::bootstrap(&*api.store, &Still, &Still, key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_servers_life_leaves_the_own_one_alone_and_goes_with_the_next_start() {
    let api = Api::new().await;
    let status = async |key: &str| {
        let answer = api.call_as(key, None, "GET", "/v1/buckets", Value::Null);
        answer.await.0
    };
    let passing = "fk_of_one_server_for_its_life";
    let set = bootstrap(&api, AdminKey::Passing(passing)).await.unwrap();
    assert_eq!((set.new_key, set.is_default), (None, true));
    assert_eq!((status(&api.key).await, status(passing).await), (200, 200));
    let next = bootstrap(&api, AdminKey::Made).await.unwrap();
    assert_eq!(next.new_key, None);
    assert_eq!((status(&api.key).await, status(passing).await), (200, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_key_is_made_once_and_the_environment_replaces_it() {
    let api = Api::new().await;
    assert!(api.key.starts_with("fk_") && api.key.len() == 63);
    let again = bootstrap(&api, AdminKey::Made).await.unwrap();
    assert_eq!((again.new_key, again.is_default), (None, true));
    assert!(bootstrap(&api, AdminKey::Chosen("short")).await.is_err());
    assert!(
        bootstrap(&api, AdminKey::Chosen("with space in the middle"))
            .await
            .is_err()
    );
    let chosen = "fk_chosen_by_an_operator";
    let set = bootstrap(&api, AdminKey::Chosen(chosen)).await.unwrap();
    assert_eq!((set.new_key, set.is_default), (None, false));
    assert_eq!(api.call("GET", "/v1/buckets", Value::Null).await.0, 401);
    assert_eq!(
        api.call_as(chosen, None, "GET", "/v1/buckets", Value::Null)
            .await
            .0,
        200
    );
    let after = bootstrap(&api, AdminKey::Made).await.unwrap();
    assert_eq!((after.new_key, after.is_default), (None, false));
}
