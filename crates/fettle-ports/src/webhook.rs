//! Webhooks as their users made them.

use std::collections::BTreeMap;
use std::fmt;

use fettle_model::{NamespaceId, UnixMillis, WebhookId};
use serde::{Deserialize, Serialize};

use crate::records::{Resource, ResourceKind};

/// A text that must not appear in logs: its debug form shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who is told of which events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WebhookRecord {
    /// The tenant.
    pub namespace_id: NamespaceId,
    /// Its id.
    pub webhook_id: WebhookId,
    /// Its name.
    pub webhook_name: String,
    /// The types of event that it is told of.
    pub event_types: Vec<String>,
    /// Only events about these kinds of resource; empty means all.
    pub resource_types: Vec<String>,
    /// Whether it is told of anything.
    pub is_active: bool,
    /// Where to.
    pub channels: Vec<WebhookChannel>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum WebhookChannel {
    /// The event as JSON, signed.
    Webhook {
        /// Where to.
        url: String,
        /// What it is signed with.
        secret: Secret,
        /// Headers that are sent along; their values may be credentials.
        headers: BTreeMap<String, Secret>,
        /// How long the receiver may take, in milliseconds.
        timeout_ms: u64,
    },
    /// A sentence to an incoming webhook of Slack.
    Slack {
        /// Where to; whoever knows it may post.
        url: Secret,
        /// `channel`, `username`, `icon_emoji` and `icon_url`, where given.
        fields: BTreeMap<String, String>,
    },
}

impl Resource for WebhookRecord {
    const KIND: ResourceKind = ResourceKind::Webhook;

    fn namespace_id(&self) -> &NamespaceId {
        &self.namespace_id
    }

    fn id(&self) -> &str {
        self.webhook_id.as_str()
    }

    fn name(&self) -> &str {
        &self.webhook_name
    }
}
