//! Whose room a request is in.
//!
//! Owns the rule that a namespace which the key may not see does not exist for it.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use fettle_model::NamespaceId;
use fettle_ports::{ApiKeyRecord, NamespaceRecord, StoreExt, UserKey};

use crate::auth::{Caller, DEFAULT_NAMESPACE};
use crate::error::ApiError;
use crate::state::ApiState;

/// The header that names a namespace.
pub(crate) const NAMESPACE_HEADER: &str = "x-namespace";

/// The namespace of a request, with the key that may see it.
pub(crate) struct Tenant {
    pub(crate) namespace_id: NamespaceId,
    pub(crate) key: ApiKeyRecord,
}

impl FromRequestParts<ApiState> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = caller(parts)?;
        let name = match parts.headers.get(NAMESPACE_HEADER) {
            Some(value) => value
                .to_str()
                .map_err(|_not_text| ApiError::not_found("namespace", "(not text)"))?
                .trim(),
            None => DEFAULT_NAMESPACE,
        };
        let record = visible_namespace(state, &caller.0, name).await?;
        Ok(Self {
            namespace_id: record.namespace_id,
            key: caller.0,
        })
    }
}

/// Behind `allow_key` only: a request without a key has no tenant.
impl OptionalFromRequestParts<ApiState> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &ApiState,
    ) -> Result<Option<Self>, ApiError> {
        if parts.extensions.get::<Caller>().is_none() {
            return Ok(None);
        }
        <Self as FromRequestParts<ApiState>>::from_request_parts(parts, state)
            .await
            .map(Some)
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, ApiError> {
        caller(parts)
    }
}

fn caller(parts: &Parts) -> Result<Caller, ApiError> {
    // Every route behind these extractors stands behind `require_key`.
    parts
        .extensions
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| ApiError::internal("a route without a key check"))
}

/// The namespace with this name or id, if the key may see it.
pub(crate) async fn visible_namespace(
    state: &ApiState,
    key: &ApiKeyRecord,
    id_or_name: &str,
) -> Result<NamespaceRecord, ApiError> {
    let found: Option<NamespaceRecord> = state.control().store().find(None, id_or_name).await?;
    found
        .filter(|record| may_see(key, record))
        .ok_or_else(|| ApiError::not_found("namespace", id_or_name))
}

/// Whether the key may see the namespace.
pub(crate) fn may_see(key: &ApiKeyRecord, namespace: &NamespaceRecord) -> bool {
    let is_named = |user: &UserKey| user.namespaces.contains(&namespace.namespace_id);
    key.is_admin
        || namespace.owner.as_ref() == Some(&key.key_id)
        || key.user.as_ref().is_some_and(is_named)
}
