//! The document index, seen through its port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod documents;
mod kill;
mod measure;
