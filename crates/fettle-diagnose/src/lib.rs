//! Evidence to cases to remedies: pure functions, and the failure-text classifier.
//!
//! Owns the question "why did this batch end as it did, what befell it, and what would mend it?". The answer is a function of recorded
//! evidence and an explicit `now`, so it can be asked of a running batch and again of an old one. It must not do IO, read a clock,
//! draw randomness, or act: a remedy is data that the API turns into a request and the core may refuse.
//!
//! Meanings of categories, events and cases for users: docs/failures.md.

pub mod bottleneck;
pub mod case;
pub mod classify;
mod compare;
mod diagnose;
mod engine;
pub mod facts;
pub mod finding;
pub mod fingerprint;
#[cfg(test)]
mod fixture;
mod phases;
pub mod redact;
pub mod remedy;
mod scope;
mod signals;
pub mod sizing;
pub mod stuck;
mod words;

pub use case::{Case, CaseKind, Standing};
pub use classify::{
    Condenser, Example, ExampleFault, FailureText, RuleFileError, RuleReport, RuleSet, TextVerdict,
    check_rules, classify,
};
pub use diagnose::diagnose;
pub use engine::memory::sizing_input;
pub use facts::{
    AttemptFacts, Awaited, BatchFacts, CancelFacts, ErrorGroup, GoodRun, JobFacts, JobProfile,
    NodeWait, TierFacts, UsageFacts, WaitFacts, WaitReason,
};
pub use finding::{
    Bottleneck, Diagnosis, Difference, EvidenceLine, JobComparison, Phases, TierFinding, Verdict,
};
pub use fingerprint::fingerprint;
pub use remedy::{HealAction, RemedyAction, RemedyKind, ResourceOverrides, RetryMode};
pub use sizing::{MemoryGrant, NextMemory, SizingInput, first_memory, next_memory};
