//! Typed HTTP client: [`Client`] for the public API, [`AttemptClient`] for the reports of drivers and workers.
//!
//! Owns addresses, headers, the error envelope and retries. It must not know what a caller does with an answer.

mod attempt;
mod backoff;
mod envelope;
mod error;
mod public;
mod sse;

pub use attempt::{AttemptClient, AttemptClientConfig, AttemptError, RowsBody};
pub use backoff::Backoff;
pub use error::{ApiError, ClientError};
pub use public::{ByteStream, Client, ClientConfig};
pub use sse::{EventStream, ServerEvent};
