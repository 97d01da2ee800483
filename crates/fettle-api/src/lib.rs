//! The HTTP API: axum routes, errors, authentication.
//!
//! Owns what the outside sees of the control room. Handlers are thin: they read a request, ask the control room or the
//! store, and show the answer in the types of `fettle-wire`. It must not decide anything about a batch.

mod api_keys;
mod auth;
mod batches;
mod body;
mod buckets;
mod choice;
mod collections;
mod documents;
mod error;
mod extractors;
mod healing;
mod health;
mod internal;
mod layers;
mod lookup;
mod markdown;
mod namespaces;
mod objects;
mod openapi;
mod page;
mod pages;
mod performance;
mod plugins;
mod rate;
mod replay;
mod retrievers;
mod router;
mod signed;
mod state;
mod tasks;
mod tenant;
mod uploads;
mod webhooks;

pub use auth::{AdminKey, Auth, AuthError, Bootstrap, DEFAULT_NAMESPACE};
pub use router::{BODY_BYTES_MAX, router};
pub use state::{ApiState, QueryEmbedError, QueryEmbedder};
