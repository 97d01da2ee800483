//! API keys of users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `POST /v1/organizations/users/{email}/api-keys`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKeyRequest {
    /// Its name, unique among the user's keys that are not revoked.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it may do; `read`, `write` and `delete` when left out.
    pub permissions: Option<Vec<Permission>>,
    /// Namespaces that it sees beside those that it makes itself.
    pub scopes: Option<Vec<ResourceScope>>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// `PATCH /v1/organizations/users/{email}/api-keys/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchApiKeyRequest {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// New permissions, in place of all that were there.
    pub permissions: Option<Vec<Permission>>,
    /// New scopes, in place of all that were there.
    pub scopes: Option<Vec<ResourceScope>>,
    /// A new end.
    pub expires_at: Option<Timestamp>,
    /// `revoked` takes the key back for good.
    pub status: Option<KeyStatus>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Look.
    Read,
    /// Make and change.
    Write,
    /// Remove.
    Delete,
    /// All of these; keys are managed by the server's own admin key alone.
    Admin,
}

/// A resource that a key sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceScope {
    /// Its kind.
    pub resource_type: ScopeType,
    /// Its id or name.
    pub resource_id: String,
}

/// Kinds of resource that a key can be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeType {
    /// A namespace.
    Namespace,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It works.
    Active,
    /// Somebody took it back.
    Revoked,
    /// Its time is over.
    Expired,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyModel {
    /// Its id.
    pub key_id: String,
    /// The same.
    pub internal_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The beginning of its secret, to recognise it by.
    pub key_prefix: String,
    /// The beginning of its secret's hash.
    pub key_hash: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// Namespaces that it sees.
    pub scopes: Vec<ResourceScope>,
    /// Whether it works.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used since the server started.
    pub last_used_at: Option<Timestamp>,
}

/// A new key: the one answer that has its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewApiKeyResponse {
    /// The secret; it cannot be shown again.
    pub key: String,
    /// The key.
    #[serde(flatten)]
    pub model: ApiKeyModel,
}

/// A user's keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListApiKeysResponse {
    /// The keys.
    pub results: Vec<ApiKeyModel>,
    /// How many there are.
    pub total: u64,
}
