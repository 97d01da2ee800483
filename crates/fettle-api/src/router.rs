//! All routes, and what stands around them.
//!
//! Owns which routes need a key and how large bodies may be. Every route under `/v1` needs one, but for health, the
//! list of extractors, signed addresses, and reports, which have their own.

use aide::axum::ApiRouter;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::auth::{allow_key, require_key};
use crate::layers::{frame, no_method, no_route};
use crate::rate::limit;
use crate::replay::replay;
use crate::state::ApiState;
use crate::{
    api_keys, batches, buckets, collections, documents, extractors, health, internal, namespaces,
    objects, openapi, pages, performance, plugins, retrievers, signed, tasks, uploads, webhooks,
};

/// A body may be this long unless its route says otherwise: a hundred objects with inline data fit, and a few at once stay small in memory.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The API under `/v1`.
pub fn router(state: ApiState) -> Router {
    let keyed = ApiRouter::new()
        .merge(api_keys::routes())
        .merge(namespaces::routes())
        .merge(buckets::routes())
        .merge(objects::routes())
        .merge(collections::routes())
        .merge(documents::routes())
        .merge(retrievers::routes())
        .merge(batches::routes())
        .merge(tasks::routes())
        .merge(uploads::routes())
        .merge(webhooks::routes())
        .merge(performance::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(from_fn_with_state(state.clone(), replay))
        .merge(plugins::routes())
        .route_layer(from_fn_with_state(state.clone(), limit))
        .route_layer(from_fn_with_state(state.clone(), require_key));
    let keyless = extractors::routes().route_layer(from_fn_with_state(state.clone(), allow_key));
    let v1 = ApiRouter::new()
        .merge(keyed)
        .merge(keyless)
        .merge(health::routes())
        .merge(internal::routes())
        .merge(uploads::receiving())
        .merge(signed::routes());
    openapi::documented(ApiRouter::new().nest("/v1", v1))
        .merge(pages::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn(frame))
        .with_state(state)
}
