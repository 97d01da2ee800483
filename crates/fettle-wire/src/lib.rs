//! Public JSON bodies, error codes and exit codes; the reports between driver, worker and serve.
//!
//! Only types of this crate are JSON that leaves the process over HTTP.

/// The reports of drivers and workers to `serve`.
pub mod internal {
    pub use fettle_model::report::*;
}
