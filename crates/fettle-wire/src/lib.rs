//! Public JSON bodies, error codes and exit codes; the reports between driver, worker and serve.
//!
//! Only types of this crate are JSON that leaves the process over HTTP.

pub mod api_key;
pub mod batch;
pub mod batch_bulk;
pub mod batch_queue;
pub mod batch_retry;
pub mod bucket;
pub mod collection;
pub mod diagnose;
pub mod document;
pub mod document_change;
pub mod error;
pub mod extractor;
pub mod filter;
pub mod healing;
pub mod namespace;
pub mod object;
pub mod page;
pub mod performance;
pub mod progress;
pub mod task;
pub mod tier;
pub mod time;
pub mod upload;
mod values;
pub mod webhook;

/// The reports of drivers and workers to `serve`.
pub mod internal {
    pub use fettle_model::report::*;
}
