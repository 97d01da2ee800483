//! The state database through its port, on real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod batches;
mod crash;
mod error_groups;
mod events;
mod fixture;
mod full_disk;
mod history;
mod objects;
mod opening;
mod reopen;
mod resources;
mod rows;
mod speed;
mod steps;
