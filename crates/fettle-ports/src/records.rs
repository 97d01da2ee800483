//! The records that a store keeps, apart from the orchestrator's own state.

use fettle_model::attempt::FieldCopy;
use fettle_model::extractor::PluginSource;
use fettle_model::filter::Filter;
use fettle_model::{
    ApiKeyId, BatchGroupId, BatchId, BlobId, BucketId, CollectionId, ExtractorRef, HealingPolicy,
    NamespaceId, ObjectId, PluginId, TaskId, UnixMillis,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kinds of record that are kept by id and, within a namespace, by a unique name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `NamespaceRecord`; its own namespace is itself.
    Namespace,
    /// `BucketRecord`.
    Bucket,
    /// `CollectionRecord`.
    Collection,
    /// `ApiKeyRecord`; the name is the key's hash.
    ApiKey,
    /// `PluginRecord`; the name is `name_version`.
    Plugin,
    /// `TaskRecord`; the name is the id.
    Task,
    /// `WebhookRecord`.
    Webhook,
    /// `UploadRecord`; the name tells bucket and content.
    Upload,
    /// `ScheduleRecord`; id and name are the collection's id.
    Schedule,
}

impl ResourceKind {
    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Bucket => "bucket",
            Self::Collection => "collection",
            Self::ApiKey => "api_key",
            Self::Plugin => "plugin",
            Self::Task => "task",
            Self::Webhook => "webhook",
            Self::Upload => "upload",
            Self::Schedule => "schedule",
        }
    }
}

/// A record that is kept by id and name. Stored as JSON; a new field needs a default.
pub trait Resource: Serialize + DeserializeOwned + Send + Sync {
    /// Its kind.
    const KIND: ResourceKind;
    /// The tenant whose record it is.
    fn namespace_id(&self) -> &NamespaceId;
    /// Its id as text.
    fn id(&self) -> &str;
    /// Its name, unique among the kind within the namespace.
    fn name(&self) -> &str;
}

macro_rules! resource {
    ($record:ident, $kind:ident, $id:ident, $name:expr) => {
        impl Resource for $record {
            const KIND: ResourceKind = ResourceKind::$kind;
            fn namespace_id(&self) -> &NamespaceId {
                &self.namespace_id
            }
            fn id(&self) -> &str {
                self.$id.as_str()
            }
            fn name(&self) -> &str {
                let name: fn(&Self) -> &str = $name;
                name(self)
            }
        }
    };
}

/// A tenant's room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its id.
    pub namespace_id: NamespaceId,
    /// Its name.
    pub namespace_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Key that owns it; other keys do not see it. `None`: the admin key's.
    pub owner: Option<ApiKeyId>,
    /// What may be done by itself when work of its buckets and batches fails, unless they say otherwise.
    #[serde(default)]
    pub healing: Option<HealingPolicy>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}
resource!(NamespaceRecord, Namespace, namespace_id, |r| &r
    .namespace_name);

/// A named set of source objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// Its id.
    pub bucket_id: BucketId,
    /// Its name.
    pub bucket_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Schema of its objects, as given: `{"properties": {field: {"type": …, "required": …}}}`.
    pub bucket_schema: Value,
    /// Fields that must be unique together.
    pub unique_key: Option<Value>,
    /// What may be done by itself when work of its batches fails, unless they say otherwise.
    #[serde(default)]
    pub healing: Option<HealingPolicy>,
    /// The user's own notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}
resource!(BucketRecord, Bucket, bucket_id, |r| &r.bucket_name);

/// Where a collection's rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CollectionSource {
    /// Objects of these buckets.
    Bucket {
        /// The buckets.
        bucket_ids: Vec<BucketId>,
    },
    /// Documents of these collections.
    Collection {
        /// The collections.
        collection_ids: Vec<CollectionId>,
    },
}

/// A target of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// Its id.
    pub collection_id: CollectionId,
    /// Its name.
    pub collection_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where its rows come from.
    pub source: CollectionSource,
    /// Only sources that match become rows; all of them where there is none.
    #[serde(default)]
    pub source_filter: Option<Filter>,
    /// What makes documents of them.
    pub extractor: ExtractorRef,
    /// Input key of the extractor → source field: `{"text": "body"}`.
    #[serde(default)]
    pub input_mappings: Map<String, Value>,
    /// Fields that are copied.
    #[serde(default)]
    pub field_passthrough: Vec<FieldCopy>,
    /// Whether all source fields are copied.
    #[serde(default)]
    pub include_all_source_fields: bool,
    /// Whether batches feed it.
    pub enabled: bool,
    /// The user's own notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}
resource!(CollectionRecord, Collection, collection_id, |r| &r
    .collection_name);

impl CollectionRecord {
    /// Whether it takes rows from another collection.
    #[must_use]
    pub fn reads(&self, other: &CollectionId) -> bool {
        match &self.source {
            CollectionSource::Collection { collection_ids } => collection_ids.contains(other),
            CollectionSource::Bucket { .. } => false,
        }
    }

    /// Whether it takes rows from a bucket.
    #[must_use]
    pub fn reads_bucket(&self, bucket: &BucketId) -> bool {
        match &self.source {
            CollectionSource::Bucket { bucket_ids } => bucket_ids.contains(bucket),
            CollectionSource::Collection { .. } => false,
        }
    }
}

/// When a collection is filled anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScheduleTrigger {
    /// At times of the calendar.
    Cron {
        /// Five fields: minute, hour, day of the month, month, day of the week.
        expression: String,
        /// Whose clocks count, such as `Europe/Berlin`.
        timezone: String,
    },
    /// So long after the last time.
    Interval {
        /// In seconds.
        seconds: u64,
    },
}

/// A collection that is filled anew by the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The collection; it has one schedule at most.
    pub collection_id: CollectionId,
    /// When.
    pub trigger: ScheduleTrigger,
    /// What it is for.
    pub description: Option<String>,
    /// When it is due next.
    pub next_at: UnixMillis,
    /// When it ran last.
    pub last_at: Option<UnixMillis>,
    /// The batches of that time.
    pub last_batch_ids: Vec<BatchId>,
    /// Why not all of them were submitted.
    pub last_error: Option<String>,
}
resource!(ScheduleRecord, Schedule, collection_id, |r| r
    .collection_id
    .as_str());

/// An API key. The secret is never kept, only its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// The namespace that the record is filed under: the default one.
    pub namespace_id: NamespaceId,
    /// Its id.
    pub key_id: ApiKeyId,
    /// Blake3 of the secret, in hexadecimal.
    pub secret_hash: String,
    /// First characters of the secret, to recognise it.
    pub prefix: String,
    /// For people.
    pub label: String,
    /// Whether it may see every namespace.
    pub is_admin: bool,
    /// Whether it is the key that the first start made or the environment set.
    pub is_default: bool,
    /// What is known of a user's key; none for the server's own keys.
    #[serde(default)]
    pub user: Option<UserKey>,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// What is known of a user's key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UserKey {
    /// Whose it is.
    pub user_email: String,
    /// What it is for.
    pub description: String,
    /// Whether it may look.
    pub may_read: bool,
    /// Whether it may make and change.
    pub may_write: bool,
    /// Whether it may remove.
    pub may_delete: bool,
    /// Namespaces that it sees beside those that it made.
    pub namespaces: Vec<NamespaceId>,
    /// When it stops working.
    pub expires_at: Option<UnixMillis>,
    /// When it was taken back.
    pub revoked_at: Option<UnixMillis>,
}
resource!(ApiKeyRecord, ApiKey, key_id, |r| &r.secret_hash);

/// A registered plugin version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// Its id.
    pub plugin_id: PluginId,
    /// Extractor name, such as `word_count`.
    pub plugin_name: String,
    /// Version, such as `v1`.
    pub version: String,
    /// `name_version`, the extractor's id.
    pub extractor_id: String,
    /// What it does.
    pub description: String,
    /// The parsed manifest, as JSON.
    pub manifest: Value,
    /// Where it is unpacked.
    pub source: PluginSource,
    /// Key of the archive in the blob store.
    pub archive_key: String,
    /// When it was registered.
    pub created_at: UnixMillis,
}
resource!(PluginRecord, Plugin, plugin_id, |r| &r.extractor_id);

/// A long operation. Its status is read from what it points at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// Its id.
    pub task_id: TaskId,
    /// The contract's task type, such as `api_buckets_batches_process`.
    pub task_type: String,
    /// The batch that the task runs.
    pub batch_id: BatchId,
    /// When it was made.
    pub created_at: UnixMillis,
}
resource!(TaskRecord, Task, task_id, |r| r.task_id.as_str());

/// One blob of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// Its id.
    pub blob_id: BlobId,
    /// The schema property that it fills.
    pub property: String,
    /// The contract's type, such as `text` or `image`.
    pub blob_type: String,
    /// Where its bytes are: `file://`, `http(s)://`, `s3://`, or `blob:KEY` in our store. `None`: `inline`.
    pub address: Option<String>,
    /// Inline data that is small enough to live in the record.
    pub inline: Option<Value>,
    /// File name.
    pub filename: Option<String>,
    /// MIME type as given or guessed from the name.
    pub mime_type: Option<String>,
    /// Size in bytes, where known.
    pub size_bytes: Option<u64>,
    /// Blake3 in hexadecimal, or `sha256:HEX` as its user says; none where neither is known.
    pub hash: Option<String>,
    /// Where it lies in the bucket, for people.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// The user's own notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// A source object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The bucket.
    pub bucket_id: BucketId,
    /// Its id.
    pub object_id: ObjectId,
    /// Where it lies in the bucket, for people.
    pub key_prefix: Option<String>,
    /// Its blobs.
    pub blobs: Vec<BlobRecord>,
    /// Its own fields.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// A key under which creating it again gives the same object.
    pub idempotency_key: Option<String>,
    /// Hash of the values of the bucket's unique key; no two objects of a bucket have the same.
    #[serde(default)]
    pub unique_key: Option<String>,
    /// Hash of what its blobs hold; none without blobs.
    #[serde(default)]
    pub content_hash: Option<String>,
    /// Whether it was created on condition that no object of the bucket has the same `content_hash`.
    #[serde(default)]
    pub skip_duplicates: bool,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl ObjectRecord {
    /// What filters and searches of objects see: its own fields, its inline blobs by property, and what every object has.
    #[must_use]
    pub fn searchable(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for blob in &self.blobs {
            let value = blob
                .inline
                .clone()
                .or_else(|| blob.address.clone().map(Value::from));
            fields.insert(blob.property.clone(), value.unwrap_or_default());
        }
        fields.extend(self.fields.clone());
        let created = jiff::Timestamp::from_millisecond(self.created_at.0);
        let created = created.unwrap_or(jiff::Timestamp::MAX);
        let own = [
            ("object_id", Value::from(self.object_id.as_str())),
            ("bucket_id", Value::from(self.bucket_id.as_str())),
            ("key_prefix", Value::from(self.key_prefix.clone())),
            ("created_at", Value::from(format!("{created:.3}"))),
        ];
        fields.extend(own.map(|(name, value)| (name.to_owned(), value)));
        fields
    }
}

/// A batch as its user made it; what it does once submitted is the orchestrator's `Batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// The bucket.
    pub bucket_id: BucketId,
    /// Its id.
    pub batch_id: BatchId,
    /// Its name.
    pub batch_name: Option<String>,
    /// Collections it is limited to; empty means all that hang off the bucket.
    #[serde(default)]
    pub collection_ids: Vec<CollectionId>,
    /// The user's own notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The contract's deduplication strategy: `skip`, `replace` or `force`.
    pub dedup_strategy: String,
    /// Key that made it.
    pub created_by: Option<ApiKeyId>,
    /// Its task, once submitted.
    pub task_id: Option<TaskId>,
    /// Address that is told when the batch ends.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// Overrides of resources per tier, as submitted.
    #[serde(default)]
    pub resource_overrides: Map<String, Value>,
    /// What may be done by itself when its work fails.
    #[serde(default)]
    pub healing: Option<HealingPolicy>,
    /// How many objects it has.
    pub object_count: u64,
    /// The bulk submission that made it.
    #[serde(default)]
    pub batch_group_id: Option<BatchGroupId>,
    /// How many of its documents were deleted by request.
    #[serde(default)]
    pub documents_deleted: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl BatchRecord {
    /// A new draft of a bucket without objects, that feeds all collections.
    #[must_use]
    pub fn draft(bucket: &BucketRecord, batch_id: BatchId, now: UnixMillis) -> Self {
        Self {
            namespace_id: bucket.namespace_id.clone(),
            bucket_id: bucket.bucket_id.clone(),
            batch_id,
            batch_name: None,
            collection_ids: Vec::new(),
            metadata: Map::new(),
            dedup_strategy: "replace".to_owned(),
            created_by: None,
            task_id: None,
            webhook_url: None,
            resource_overrides: Map::new(),
            healing: None,
            object_count: 0,
            batch_group_id: None,
            documents_deleted: 0,
            created_at: now,
            updated_at: now,
        }
    }
}
