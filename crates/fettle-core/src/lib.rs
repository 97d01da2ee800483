//! The orchestrator as a synchronous, total state machine: no clock, no IO, no randomness.
//!
//! Owns what a batch, its tiers, jobs and attempts may do. It must not read a clock, draw randomness, use a hash map,
//! or know how anything is stored or run; the control room does that.

pub mod admission;
pub mod batch;
pub mod effect;
pub mod event;
pub mod healing;
pub mod laws;
pub mod plan;
pub mod step;
pub mod timeline;

pub use batch::{Attempt, Batch, Cancel, DedupTally, Job, JobState, Tier, TierSource, Wait};
pub use effect::{Effect, Effects, FailedRows, ReopenRows, SkipRows, WhichRows};
pub use event::{Event, Overrides, PreparedRows, Scope, SkippedRows, Submission};
pub use healing::{Advice, Budgets, KeptWork, Remedy, Stop};
pub use plan::{BatchPlan, JobPlan, PlanError, TierPlan};
pub use step::{Refusal, can_be_adopted, step};
pub use timeline::{TimelineEntry, TimelineKind};
