//! The built-in extractors and the blob loader, driven as the worker drives them.

#![expect(
    clippy::unwrap_used,
    reason = "fixtures are built outside of test functions too; a panic fails the test"
)]

mod blob;
mod document;
mod image;
mod model;
mod support;
mod text;
mod universal;
