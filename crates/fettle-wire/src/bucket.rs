//! Buckets and the schema of their objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::healing::{HealingPolicy, given};
use crate::time::Timestamp;

/// `POST /v1/buckets`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBucketRequest {
    /// Its name.
    pub bucket_name: String,
    /// The schema of its objects.
    pub bucket_schema: BucketSchema,
    /// What it is for.
    pub description: Option<String>,
    /// Fields that must be unique together.
    pub unique_key: Option<UniqueKey>,
    /// The user's own notes.
    pub metadata: Option<Map<String, Value>>,
    /// What may be done by itself when its work fails. Beyond the contract.
    pub healing: Option<HealingPolicy>,
}

/// Sums over the buckets of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketListStats {
    /// Objects of all buckets.
    pub total_objects: u64,
    /// What their blobs hold, in bytes.
    pub total_size_bytes: u64,
    /// Objects of a bucket on average.
    pub avg_objects_per_bucket: f64,
    /// Bytes of a bucket on average.
    pub avg_size_per_bucket: f64,
}

/// `PATCH` and `PUT /v1/buckets/{id}`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchBucketRequest {
    /// A new name.
    pub bucket_name: Option<String>,
    /// A new schema; it holds for objects that are created or changed from now on.
    pub bucket_schema: Option<BucketSchema>,
    /// A new description.
    pub description: Option<String>,
    /// New notes, in place of all that were there.
    pub metadata: Option<Map<String, Value>>,
    /// Fields that must be unique together; can be changed while the bucket is empty.
    pub unique_key: Option<UniqueKey>,
    /// What may be done by itself when its work fails; null takes it back. Beyond the contract.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<HealingPolicy>")]
    pub healing: Option<Option<HealingPolicy>>,
}

/// The schema of a bucket's objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketSchema {
    /// The properties by name.
    pub properties: std::collections::BTreeMap<String, SchemaField>,
}

/// One property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaField {
    /// Its type.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// Whether every object must have it.
    #[serde(default)]
    pub required: Option<bool>,
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
    /// Values that it may have.
    #[serde(default, rename = "enum")]
    pub allowed: Option<Vec<Value>>,
    /// Value where an object has none.
    #[serde(default)]
    pub default: Option<Value>,
    /// Examples.
    #[serde(default)]
    pub examples: Option<Vec<Value>>,
    /// Schema of an array's items.
    #[serde(default)]
    pub items: Option<Box<SchemaField>>,
    /// Schema of an object's fields.
    #[serde(default)]
    pub properties: Option<std::collections::BTreeMap<String, SchemaField>>,
}

/// Types of property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum FieldType {
    String,
    Number,
    Integer,
    Float,
    Boolean,
    Object,
    Array,
    Date,
    Datetime,
    Text,
    Image,
    Audio,
    Video,
    Pdf,
    Excel,
}

impl FieldType {
    /// The value in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Pdf => "pdf",
            Self::Excel => "excel",
        }
    }

    /// Whether its data are the bytes of a file.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(
            self,
            Self::Image | Self::Audio | Self::Video | Self::Pdf | Self::Excel
        )
    }

    /// Whether a JSON value is of this type, as far as JSON can tell.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::String | Self::Text | Self::Date | Self::Datetime => value.is_string(),
            Self::Number | Self::Float => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Image | Self::Audio | Self::Video | Self::Pdf | Self::Excel => value.is_string(),
        }
    }
}

/// Fields that must be unique together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniqueKey {
    /// The fields.
    pub fields: Vec<String>,
    /// What happens to an object whose key exists; `insert` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_policy: Option<UniqueKeyPolicy>,
}

/// What happens to an object whose unique key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UniqueKeyPolicy {
    /// It is refused.
    Insert,
    /// It takes the other's place; where there is none, it is refused.
    Update,
    /// It takes the other's place; where there is none, it is added.
    Upsert,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketResponse {
    /// Its id.
    pub bucket_id: String,
    /// Its name.
    pub bucket_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The schema of its objects.
    #[schemars(with = "BucketSchema")]
    pub bucket_schema: Value,
    /// Fields that must be unique together.
    #[schemars(with = "Option<UniqueKey>")]
    pub unique_key: Option<Value>,
    /// What may be done by itself when work of its batches fails; none means what the namespace says. Beyond the contract.
    pub healing: Option<HealingPolicy>,
    /// The user's own notes.
    pub metadata: Map<String, Value>,
    /// How many objects it has.
    pub object_count: u64,
    /// Their known bytes.
    pub total_size_bytes: u64,
    /// When its newest object was made.
    pub last_upload_at: Option<Timestamp>,
    /// Batches by state.
    pub batch_stats: BatchStatistics,
    /// Always `ACTIVE`.
    #[schemars(extend("enum" = crate::values::TASK_STATUSES))]
    pub status: String,
    /// Always `false`.
    pub is_locked: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How many batches a bucket has, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchStatistics {
    /// All.
    pub total: u64,
    /// Queued or processing.
    pub active: u64,
    /// Completed, with or without errors.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
}
