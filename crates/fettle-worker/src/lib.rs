//! Driver and worker: manifests, extractors, plugins.

mod artifacts;
mod attempt_files;
pub mod blob;
mod budget;
mod clock;
pub mod codes;
mod compose;
pub mod driver;
mod engine;
pub mod extract;
mod frame;
mod inputs;
mod meter;
mod plugin;
pub mod schedule;
mod served;
pub mod worker;

pub use driver::{BrokerCommand, DriverArgs, HostArgs, driver_main, host_main};
pub use worker::{WorkerArgs, worker_main};
