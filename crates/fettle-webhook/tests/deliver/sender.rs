//! The loop over a real store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fettle_model::{NamespaceId, UnixMillis, WebhookId};
use fettle_ports::{
    Clock, DeliveryFilter, DeliveryRecord, DeliveryStatus, Entropy, Page, Store, StoreExt,
    WebhookChannel, WebhookRecord,
};
use fettle_store::SqliteStore;
use fettle_webhook::{WebhookPorts, WebhookSettings, Webhooks};
use serde_json::Map;

struct Real;

impl Clock for Real {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixMillis(i64::try_from(since.as_millis()).unwrap())
    }
}

struct Counted(AtomicU64);

impl Entropy for Counted {
    fn bytes15(&self) -> [u8; 15] {
        let mut bytes = [0; 15];
        bytes[7..].copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }
}

pub(crate) struct Sender {
    _folder: tempfile::TempDir,
    ports: WebhookPorts,
    settings: WebhookSettings,
    webhooks: Option<Webhooks>,
}

pub(crate) fn namespace() -> NamespaceId {
    NamespaceId::from_entropy([9; 15])
}

impl Sender {
    pub(crate) async fn new(allowed_hosts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("state.db")).unwrap();
        let ports = WebhookPorts {
            store: Arc::new(store),
            clock: Arc::new(Real),
            entropy: Arc::new(Counted(AtomicU64::new(1))),
        };
        let settings = WebhookSettings {
            allowed_hosts: allowed_hosts
                .iter()
                .map(|host| (*host).to_owned())
                .collect(),
            server_secret: [7; 32],
        };
        let mut sender = Self {
            _folder: folder,
            ports,
            settings,
            webhooks: None,
        };
        sender.start();
        sender
    }

    pub(crate) fn start(&mut self) {
        let started = Webhooks::start(self.ports.clone(), self.settings.clone());
        self.webhooks = Some(started.unwrap());
    }

    pub(crate) async fn stop(&mut self) {
        self.webhooks.take().unwrap().stop().await;
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.ports.store
    }

    pub(crate) fn record(n: u8, channels: Vec<WebhookChannel>) -> WebhookRecord {
        WebhookRecord {
            namespace_id: namespace(),
            webhook_id: WebhookId::from_entropy([n; 15]),
            webhook_name: format!("webhook {n}"),
            event_types: vec![
                "document.created".to_owned(),
                "collection.created".to_owned(),
            ],
            resource_types: Vec::new(),
            is_active: true,
            channels,
            created_at: UnixMillis(1),
            updated_at: UnixMillis(1),
        }
    }

    pub(crate) async fn insert(&self, record: &WebhookRecord) {
        self.store().insert(record).await.unwrap();
    }

    pub(crate) async fn webhook(&self, n: u8, channels: Vec<WebhookChannel>) {
        self.insert(&Self::record(n, channels)).await;
    }

    pub(crate) async fn happen(&self, event_type: &str) {
        let now = self.ports.clock.now();
        self.store()
            .append_event(&namespace(), event_type, now, Map::new())
            .await
            .unwrap();
    }

    async fn deliveries(&self, status: DeliveryStatus) -> Vec<DeliveryRecord> {
        let filter = DeliveryFilter {
            status: Some(status),
            ..DeliveryFilter::default()
        };
        let page = Page {
            limit: 1_000,
            ..Page::default()
        };
        let (rows, _) = self
            .store()
            .list_deliveries(&namespace(), &filter, page)
            .await
            .unwrap();
        rows.into_iter().map(|(_, delivery)| delivery).collect()
    }

    pub(crate) async fn count(&self, status: DeliveryStatus) -> usize {
        self.deliveries(status).await.len()
    }

    /// Deliveries with this status, once there are so many.
    pub(crate) async fn wait_for(
        &self,
        status: DeliveryStatus,
        count: usize,
    ) -> Vec<DeliveryRecord> {
        eventually(|| async {
            let found = self.deliveries(status).await;
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

/// Waits until `look` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it happens within a minute")
}
