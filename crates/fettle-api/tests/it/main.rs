//! The API against the real store and index, in process, with a backend that only pretends to run attempts.

#![expect(
    clippy::unwrap_used,
    reason = "all of this crate is a test; what helpers unwrap is what they assert"
)]

mod api_keys;
mod attempt_files;
mod bulk;
mod contract;
mod dedup;
mod diagnosis;
mod document_changes;
mod errors;
mod executor;
mod harness;
mod heal;
mod healing;
mod identity;
mod openapi;
mod replay;
mod resources;
mod retry;
mod run;
mod tenancy;
mod uploads;
mod webhooks;
