//! A whole API on a temporary folder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use fettle_api::{AdminKey, ApiState, Auth, router};
use fettle_control::{Control, ControlConfig, Ports};
use fettle_index::EdgeIndex;
use fettle_model::UnixMillis;
use fettle_model::attempt::AccessPolicy;
use fettle_ports::{Clock, Entropy, Store};
use fettle_store::{ObjectBlobs, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::executor::PretendExecutor;

/// A clock that steps a millisecond at each look, so that nothing happens at the same time as another thing.
pub(crate) struct StepClock(AtomicU64);

impl Clock for StepClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(
            1_700_000_000_000 + i64::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap(),
        )
    }
}

/// Ids that count.
pub(crate) struct CountedEntropy(AtomicU64);

impl Entropy for CountedEntropy {
    fn bytes15(&self) -> [u8; 15] {
        let mut bytes = [0; 15];
        bytes[7..].copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }
}

/// A whole API.
pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) key: String,
    pub(crate) executor: Arc<PretendExecutor>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) control: Control,
    pub(crate) folder: Arc<TempDir>,
}

impl Api {
    /// On an empty folder, after its first start.
    pub(crate) async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data = folder.path();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&data.join("state.db")).unwrap());
        let executor = Arc::new(PretendExecutor::new(folder.clone()));
        let ports = Ports {
            store: store.clone(),
            index: Arc::new(EdgeIndex::open(&data.join("index")).unwrap()),
            blobs: Arc::new(
                ObjectBlobs::open(&format!("file://{}", data.join("blobs").display())).unwrap(),
            ),
            executor: executor.clone(),
            clock: Arc::new(StepClock(AtomicU64::new(0))),
            entropy: Arc::new(CountedEntropy(AtomicU64::new(1))),
        };
        let (clock, entropy) = (ports.clock.clone(), ports.entropy.clone());
        let control = Control::start(ports, config(data)).await.unwrap();
        let bootstrap = Auth::bootstrap(&*store, &*clock, &*entropy, AdminKey::Made)
            .await
            .unwrap();
        let state = ApiState::new(control.clone(), Auth::new(store.clone()), None);
        Self {
            router: router(state),
            key: bootstrap.new_key.unwrap(),
            executor,
            store,
            control,
            folder,
        }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends JSON with the admin key to the default namespace; a null body is none.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_as(&self.key, None, method, path, body).await
    }

    /// Sends JSON with a key to a namespace.
    pub(crate) async fn call_as(
        &self,
        key: &str,
        namespace: Option<&str>,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {key}"));
        if let Some(namespace) = namespace {
            request = request.header("x-namespace", namespace);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let response = self.send(request.body(body).unwrap()).await;
        let status = response.status().as_u16();
        (status, json_of(response).await)
    }

    /// Sends what must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer:#}"
        );
        answer
    }

    /// Sends what must be refused with `status`; gives the error.
    pub(crate) async fn refused(
        &self,
        status: u16,
        method: &str,
        path: &str,
        body: Value,
    ) -> Value {
        let (given, answer) = self.call(method, path, body).await;
        assert_eq!(given, status, "{method} {path}: {answer:#}");
        assert_eq!(answer["status"], status);
        assert_eq!(answer["success"], false);
        answer["error"].clone()
    }

    /// A bucket `docs` with a text property, and a collection `chunks` that reads it.
    pub(crate) async fn bucket_and_collection(&self) -> (String, String) {
        let schema = json!({"properties": {"body": {"type": "text", "required": true}, "lang": {"type": "string"}}});
        let bucket = self
            .ok(
                "POST",
                "/v1/buckets",
                json!({"bucket_name": "docs", "bucket_schema": schema}),
            )
            .await;
        let bucket = bucket["bucket_id"].as_str().unwrap().to_owned();
        let extractor = json!({"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": {"text": "body"}});
        let source = json!({"type": "bucket", "bucket_ids": [bucket]});
        let body =
            json!({"collection_name": "chunks", "source": source, "feature_extractor": extractor});
        let collection = self.ok("POST", "/v1/collections", body).await;
        (
            bucket,
            collection["collection_id"].as_str().unwrap().to_owned(),
        )
    }

    /// Objects with these bodies.
    pub(crate) async fn objects(&self, bucket: &str, bodies: &[&str]) -> Vec<String> {
        let objects: Vec<Value> = bodies
            .iter()
            .map(|body| json!({"lang": "en", "blobs": [{"property": "body", "type": "text", "data": body}]}))
            .collect();
        let path = format!("/v1/buckets/{bucket}/objects/batch");
        let answer = self.ok("POST", &path, json!({ "objects": objects })).await;
        assert_eq!(answer["failed_count"], 0, "{answer:#}");
        let made = answer["succeeded"].as_array().unwrap().iter();
        made.map(|object| object["object_id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn config(data: &Path) -> ControlConfig {
    ControlConfig {
        control_url: "http://127.0.0.1:1".into(),
        control_url_file: None,
        public_url: None,
        data_dir: data.to_owned(),
        model_dir: None,
        access: AccessPolicy {
            file_roots: vec!["/allowed".into()],
            private_hosts: vec![],
        },
        webhook_hosts: vec!["127.0.0.1".into()],
        requests_per_second: None,
        default_resources: ControlConfig::standard_resources(),
        stuck: fettle_control::StuckPolicy::default(),
        cold_start: Duration::from_secs(1200),
        row_timeout_ms: None,
        price_per_compute_hour: Some(3.6),
        token_secret: [7; 32],
    }
}

/// The JSON of an answer; null for an empty one.
pub(crate) async fn json_of(response: Response<Body>) -> Value {
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// Waits until `look` gives something; a test that waits longer than this hangs.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
