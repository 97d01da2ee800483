//! The binary as its users have it: real processes, real kills, real files.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic where it stands"
)]
#![expect(
    unreachable_pub,
    reason = "the modules of a test share what a library would export"
)]

#[path = "e2e/server.rs"]
mod server;

#[path = "e2e/adopt.rs"]
mod adopt;
#[path = "e2e/batch.rs"]
mod batch;
#[path = "e2e/cancel.rs"]
mod cancel;
#[path = "e2e/classify.rs"]
mod classify;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/first_start.rs"]
mod first_start;
#[path = "e2e/healing.rs"]
mod healing;
#[path = "e2e/host.rs"]
mod host;
#[path = "e2e/kills.rs"]
mod kills;
#[path = "e2e/memory.rs"]
mod memory;
#[path = "e2e/plugins.rs"]
mod plugins;
#[path = "e2e/poison.rs"]
mod poison;
#[path = "e2e/s3.rs"]
mod s3;
#[path = "e2e/stuck.rs"]
mod stuck;
#[path = "e2e/webhooks.rs"]
mod webhooks;
