//! API keys of users: create, list, change, rotate, revoke. Only the server's own admin keys manage them.

use aide::axum::ApiRouter;
use aide::axum::routing::{patch as patching, post};
use axum::Json;
use axum::extract::State;
use fettle_model::{ApiKeyId, NamespaceId};
use fettle_ports::{ApiKeyRecord, ResourceKind, StoreExt, UserKey};
use fettle_wire::api_key::{
    ApiKeyModel, CreateApiKeyRequest, KeyStatus, ListApiKeysResponse, NewApiKeyResponse,
    PatchApiKeyRequest, Permission, ResourceScope, ScopeType,
};
use fettle_wire::error::ErrorType;
use fettle_wire::page::DeleteResponse;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::auth::{Caller, hash_of};
use crate::body::{Body, InPath, Params};
use crate::error::ApiError;
use crate::lookup::{all, check_name};
use crate::state::ApiState;
use crate::tenant::visible_namespace;

/// Shortest and longest name, as in the contract.
const NAME_LENGTH: (usize, usize) = (1, 100);
/// Longest description, as in the contract.
const DESCRIPTION_LENGTH_MAX: usize = 500;
/// Namespaces of one key; each is compared at each request.
const SCOPES_MAX: usize = 100;
/// Characters of a secret that are kept to recognise it by.
const PREFIX_LENGTH: usize = 7;
/// Characters of a hash that are shown.
const HASH_SHOWN: usize = 16;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    ApiRouter::new()
        .api_route(
            "/organizations/users/{user_email}/api-keys",
            post(create).get(list),
        )
        .api_route(
            "/organizations/users/{user_email}/api-keys/{key_name}",
            patching(patch).delete(revoke),
        )
        .api_route(
            "/organizations/users/{user_email}/api-keys/{key_name}/rotate",
            post(rotate),
        )
}

fn admin(key: &ApiKeyRecord) -> Result<(), ApiError> {
    if key.is_admin {
        return Ok(());
    }
    let message = "keys are managed with the server's admin key alone";
    Err(ApiError::new(ErrorType::ForbiddenError, message))
}

async fn create(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath(email): InPath<String>,
    Body(body): Body<CreateApiKeyRequest>,
) -> Result<Json<NewApiKeyResponse>, ApiError> {
    admin(&key)?;
    check_name("user_email", &email, 3, 254)?;
    let standard = vec![Permission::Read, Permission::Write, Permission::Delete];
    let wished = PatchApiKeyRequest {
        name: Some(body.name),
        description: body.description,
        permissions: Some(body.permissions.unwrap_or(standard)),
        scopes: body.scopes,
        expires_at: body.expires_at,
        status: None,
    };
    let secret = secret(&state);
    let mut record = ApiKeyRecord {
        namespace_id: key.namespace_id.clone(),
        key_id: ApiKeyId::from_entropy(state.id_bits()),
        secret_hash: hash_of(&secret),
        prefix: secret.chars().take(PREFIX_LENGTH).collect(),
        label: String::new(),
        is_admin: false,
        is_default: false,
        user: Some(UserKey {
            user_email: email,
            ..UserKey::default()
        }),
        created_at: state.now(),
    };
    apply(&state, &key, &mut record, wished).await?;
    state.control().store().insert(&record).await?;
    Ok(Json(NewApiKeyResponse {
        key: secret,
        model: view(&state, record),
    }))
}

/// `fk_` and 240 random bits.
fn secret(state: &ApiState) -> String {
    let halves = [state.id_bits(), state.id_bits()];
    let digits: String = halves
        .iter()
        .flatten()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("fk_{digits}")
}

async fn apply(
    state: &ApiState,
    caller: &ApiKeyRecord,
    record: &mut ApiKeyRecord,
    wished: PatchApiKeyRequest,
) -> Result<(), ApiError> {
    let mut user = record.user.clone().unwrap_or_default();
    if let Some(name) = wished.name.filter(|name| *name != record.label) {
        check_name("name", &name, NAME_LENGTH.0, NAME_LENGTH.1)?;
        if find(state, caller, &user.user_email, &name).await.is_ok() {
            return Err(ApiError::exists("api_key", &name));
        }
        record.label = name;
    }
    if let Some(description) = wished.description {
        if description.chars().count() > DESCRIPTION_LENGTH_MAX {
            let message = format!("has more than {DESCRIPTION_LENGTH_MAX} characters");
            return Err(ApiError::invalid(&["description"], message));
        }
        user.description = description;
    }
    if let Some(permissions) = wished.permissions {
        let has =
            |wanted| permissions.contains(&Permission::Admin) || permissions.contains(&wanted);
        user.may_read = has(Permission::Read);
        user.may_write = has(Permission::Write);
        user.may_delete = has(Permission::Delete);
    }
    if let Some(scopes) = wished.scopes {
        if scopes.len() > SCOPES_MAX {
            let message = format!("names more than {SCOPES_MAX} namespaces");
            return Err(ApiError::invalid(&["scopes"], message));
        }
        let mut namespaces: Vec<NamespaceId> = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let found = visible_namespace(state, caller, &scope.resource_id).await?;
            namespaces.push(found.namespace_id);
        }
        user.namespaces = namespaces;
    }
    match wished.status {
        Some(KeyStatus::Revoked) => {
            user.revoked_at = user.revoked_at.or(Some(state.now()));
        }
        Some(KeyStatus::Active) if user.revoked_at.is_some() => {
            let present = "it was revoked, which cannot be undone; make a new key".to_owned();
            return Err(ApiError::conflict("activating the key", present));
        }
        Some(KeyStatus::Expired) => {
            let message = "a key expires at its `expires_at`; set that";
            return Err(ApiError::invalid(&["status"], message));
        }
        Some(KeyStatus::Active) | None => {}
    }
    user.expires_at = wished.expires_at.map(|at| at.0).or(user.expires_at);
    record.user = Some(user);
    Ok(())
}

/// The user's key with this name that is not revoked.
async fn find(
    state: &ApiState,
    caller: &ApiKeyRecord,
    email: &str,
    name: &str,
) -> Result<ApiKeyRecord, ApiError> {
    let keys: Vec<ApiKeyRecord> = all(state, &caller.namespace_id).await?;
    let is_it = |key: &ApiKeyRecord| {
        let own = |user: &UserKey| user.user_email == email && user.revoked_at.is_none();
        (key.label == name || key.key_id.as_str() == name) && key.user.as_ref().is_some_and(own)
    };
    let found = keys.into_iter().find(is_it);
    found.ok_or_else(|| ApiError::not_found("api_key", name))
}

#[derive(Deserialize, JsonSchema)]
struct ListQuery {
    /// Whether revoked keys are wanted too.
    include_revoked: Option<bool>,
    /// Has no effect: there are no keys of sessions.
    #[serde(rename = "include_session_keys")]
    _include_session_keys: Option<bool>,
}

async fn list(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath(email): InPath<String>,
    Params(query): Params<ListQuery>,
) -> Result<Json<ListApiKeysResponse>, ApiError> {
    admin(&key)?;
    let revoked_too = query.include_revoked.unwrap_or(false);
    let keys: Vec<ApiKeyRecord> = all(&state, &key.namespace_id).await?;
    let own =
        |user: &UserKey| user.user_email == email && (revoked_too || user.revoked_at.is_none());
    let keys = keys
        .into_iter()
        .filter(|key| key.user.as_ref().is_some_and(own));
    let results: Vec<ApiKeyModel> = keys.map(|key| view(&state, key)).collect();
    Ok(Json(ListApiKeysResponse {
        total: results.len() as u64,
        results,
    }))
}

async fn patch(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath((email, name)): InPath<(String, String)>,
    Body(body): Body<PatchApiKeyRequest>,
) -> Result<Json<ApiKeyModel>, ApiError> {
    admin(&key)?;
    let mut record = find(&state, &key, &email, &name).await?;
    apply(&state, &key, &mut record, body).await?;
    state.control().store().update(&record).await?;
    Ok(Json(view(&state, record)))
}

async fn rotate(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath((email, name)): InPath<(String, String)>,
) -> Result<Json<NewApiKeyResponse>, ApiError> {
    admin(&key)?;
    let mut record = find(&state, &key, &email, &name).await?;
    let secret = secret(&state);
    record.secret_hash = hash_of(&secret);
    record.prefix = secret.chars().take(PREFIX_LENGTH).collect();
    state.control().store().update(&record).await?;
    Ok(Json(NewApiKeyResponse {
        key: secret,
        model: view(&state, record),
    }))
}

#[derive(Deserialize, JsonSchema)]
struct DeleteQuery {
    /// Whether its record goes too.
    force: Option<bool>,
}

async fn revoke(
    State(state): State<ApiState>,
    Caller(key): Caller,
    InPath((email, name)): InPath<(String, String)>,
    Params(query): Params<DeleteQuery>,
) -> Result<Json<DeleteResponse>, ApiError> {
    admin(&key)?;
    let mut record = find(&state, &key, &email, &name).await?;
    let store = state.control().store();
    if query.force.unwrap_or(false) {
        let id = record.key_id.as_str();
        store
            .delete_resource(ResourceKind::ApiKey, &record.namespace_id, id)
            .await?;
    } else {
        if let Some(user) = &mut record.user {
            user.revoked_at = Some(state.now());
        }
        store.update(&record).await?;
    }
    Ok(Json(DeleteResponse::of(format!(
        "key {name} works no more"
    ))))
}

fn view(state: &ApiState, record: ApiKeyRecord) -> ApiKeyModel {
    let user = record.user.unwrap_or_default();
    let status = match (user.revoked_at, user.expires_at) {
        (Some(_), _) => KeyStatus::Revoked,
        (None, Some(at)) if at <= state.now() => KeyStatus::Expired,
        (None, _) => KeyStatus::Active,
    };
    let may = [
        (user.may_read, Permission::Read),
        (user.may_write, Permission::Write),
        (user.may_delete, Permission::Delete),
    ];
    let scope = |id: &NamespaceId| ResourceScope {
        resource_type: ScopeType::Namespace,
        resource_id: id.to_string(),
    };
    ApiKeyModel {
        key_id: record.key_id.to_string(),
        internal_id: record.key_id.to_string(),
        last_used_at: state.auth().last_used(&record.key_id).map(Into::into),
        user_id: user.user_email,
        name: record.label,
        description: user.description,
        key_prefix: record.prefix,
        key_hash: record.secret_hash.chars().take(HASH_SHOWN).collect(),
        permissions: may
            .into_iter()
            .filter(|(may, _)| *may)
            .map(|(_, what)| what)
            .collect(),
        scopes: user.namespaces.iter().map(scope).collect(),
        status,
        created_at: record.created_at.into(),
        expires_at: user.expires_at.map(Into::into),
        revoked_at: user.revoked_at.map(Into::into),
    }
}

/// Why a key may not do what a request asks for.
pub(crate) fn refusal(
    state: &ApiState,
    key: &ApiKeyRecord,
    method: &axum::http::Method,
    path: &str,
) -> Option<ApiError> {
    let user = key.user.as_ref()?;
    let over = user.revoked_at.is_some() || user.expires_at.is_some_and(|at| at <= state.now());
    if over {
        let message = "this API key was revoked or has expired";
        return Some(ApiError::new(ErrorType::UnauthorizedError, message));
    }
    let looks = *method == axum::http::Method::GET
        || path.ends_with("/list")
        || path.ends_with("/retrievers/execute");
    let (may, needed) = if looks {
        (user.may_read, "read")
    } else if *method == axum::http::Method::DELETE {
        (user.may_delete, "delete")
    } else {
        (user.may_write, "write")
    };
    let message = format!("this API key lacks the permission `{needed}`");
    let refused = ApiError::new(ErrorType::ForbiddenError, message).with("needed", json!(needed));
    (!may).then_some(refused)
}
