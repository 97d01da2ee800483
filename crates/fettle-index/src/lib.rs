//! Documents and vectors in Qdrant Edge.
//!
//! Owns how documents are laid out as points, made durable and found again. It must not decide anything: tenancy and
//! limits on what users may ask for are the caller's, filters mean what `fettle-model` says they mean.
//!
//! How a collection is kept, and why:
//! - One Edge shard per collection, in `ROOT/NAMESPACE/COLLECTION/`, opened on first use (`registry`, `space`).
//! - The library does not replay its log when it opens a shard, so only a flush makes a document durable. Writers of one
//!   collection share flushes: what waits is applied together, flushed once, and acknowledged together (`writer`).
//! - The log only numbers operations, so each opening starts a fresh one, numbered past all that the shard has seen
//!   (`layout`). That bounds it, and makes a damaged or lost log harmless.
//! - The shard is kept as one segment that is changed in place, and the library's optimiser is never run: it would move
//!   documents between segments, which only a replayed log makes safe when the process is killed. Searches are therefore
//!   exact and scan the collection.
//! - The library panics where others return errors. No panic leaves this crate: it becomes `Unavailable`, and the shard is
//!   closed and opened again before its next use (`panics`, `space`).

mod convert;
mod cursor;
mod disk;
mod fault;
mod index;
mod layout;
mod panics;
mod read;
mod registry;
mod shard;
mod space;
mod writer;

pub use index::{EdgeIndex, Limits};
pub use registry::OpenError;
