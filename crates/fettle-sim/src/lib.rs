//! Development only: the seeded simulation of the orchestrator and its laws.
//!
//! A world of fakes (a store, a backend, users) drives the real core with random events: crashes between commit and act,
//! commits that fail, lost, late and doubled reports. After each event the laws are checked; at the end the faults stop and the
//! batch must come to an end. A seed gives the same run each time.

pub mod random;
pub mod run;
pub mod sizing;
pub mod world;

pub use run::{Report, run};
