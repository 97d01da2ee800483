//! The one loop: select, step the core, commit, act; admission and reconcilers.
//!
//! Owns the order of things: nothing is done that was not committed, and what was committed is done at least once.
//! It must not know HTTP, SQL, or how a process is started; those stand behind the ports.

mod advice;
mod attempt_files;
pub mod config;
pub mod control;
mod effects;
pub mod error;
mod facts;
mod failures;
mod fence;
mod grant;
mod heal;
mod history;
mod last_good;
mod orchestrator;
mod policy;
mod purge;
mod queue;
mod reconcile;
mod replace;
mod reports;
mod requests;
mod retry;
mod rows;
mod scaling;
pub mod schedule;
mod spec;
mod stuck;
mod summary;
mod token;

pub use config::{ControlConfig, StuckMode, StuckPolicy};
pub use control::{Control, Ports};
pub use error::{ReportError, RequestError};
pub use heal::{HealAction, HealFinding, HealOutcome, HealStep};
pub use history::{HISTORY_DAYS, history_key};
pub use queue::QueuedJob;
pub use requests::SubmitOptions;
pub use retry::RetriedTier;
pub use stuck::StuckRemedy;
