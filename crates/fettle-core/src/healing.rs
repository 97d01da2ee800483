//! What healing leaves in a batch: budgets spent, waits, remedies with what became of them, and work that was kept.
//!
//! Owns the arithmetic. It must not decide whether a remedy is applied; that is `step`'s work.

use std::collections::BTreeMap;

use fettle_model::{
    AppliedBy, AttemptId, Cause, HealingPolicy, JobId, RemedyOutcome, RemedyTaken, RowCounts,
    UnixMillis,
};
use serde::{Deserialize, Serialize};

use crate::event::Overrides;

/// What a job has spent, per cause, since the last request of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budgets(BTreeMap<Cause, u32>);

impl Budgets {
    /// Attempts that `cause` was followed by.
    #[must_use]
    pub fn spent(&self, cause: Cause) -> u32 {
        self.0.get(&cause).copied().unwrap_or(0)
    }

    /// Attempts that any cause was followed by.
    #[must_use]
    pub fn spent_in_all(&self) -> u32 {
        self.0.values().sum()
    }

    /// Counts one more; how many it are then.
    pub(crate) fn spend(&mut self, cause: Cause) -> u32 {
        let spent = self.0.entry(cause).or_default();
        *spent = spent.saturating_add(1);
        *spent
    }
}

/// Why the orchestrator stops an attempt that no user cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stop", rename_all = "snake_case")]
pub enum Stop {
    /// Its unfinished rows are to be tried again.
    Restart {
        /// What is wrong with it.
        cause: Cause,
        /// Who wants it.
        by: AppliedBy,
        /// In one sentence.
        reason: String,
    },
    /// More rows failed than the policy allows; the job fails.
    TooManyFailures {
        /// In one sentence.
        reason: String,
    },
}

/// What the diagnosis says about the end of an attempt, as far as a remedy rests on it. The core may refuse it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Advice {
    /// Resources of the next attempt.
    pub overrides: Overrides,
    /// Failed rows of the job whose error may pass.
    pub transient_rows: u64,
    /// Failed rows of the job that lacked memory; what they need is in the overrides.
    #[serde(default)]
    pub resource_rows: u64,
    /// What is enough for each worker, in bytes, where that is far below the present limit.
    #[serde(default)]
    pub memory_enough_bytes: Option<u64>,
}

/// Something that was done about the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Of this job.
    pub job_id: JobId,
    /// In this tier.
    pub tier_num: u32,
    /// Its number among the job's remedies, from one.
    pub number: u32,
    /// The attempt whose end it answers; none where the rows could not be prepared.
    pub after: Option<AttemptId>,
    /// Why.
    pub cause: Cause,
    /// What was done.
    pub taken: RemedyTaken,
    /// Who did it.
    pub by: AppliedBy,
    /// What had happened, in one sentence.
    pub reason: String,
    /// When it was applied.
    pub at: UnixMillis,
    /// What became of it.
    pub outcome: Option<RemedyOutcome>,
    /// When that was known.
    pub ended_at: Option<UnixMillis>,
}

/// Work that an attempt did not do again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptWork {
    /// Rows that had an outcome before it began.
    pub rows: u64,
    /// What these rows took the earlier attempts, in milliseconds: their time, shared out evenly over the rows they did.
    pub saved_ms: u64,
}

/// Whether more rows failed than the policy allows, of all rows of the job.
#[must_use]
pub fn fails_too_much(policy: &HealingPolicy, rows: u64, counts: &RowCounts) -> bool {
    policy.failed_percent_max.is_some_and(|percent| {
        // Rows are far below 2^53.
        counts.failed > 0 && counts.failed as f64 * 100.0 > rows as f64 * percent
    })
}

/// The first wait after a cause, in milliseconds: as long as what is behind it may need to pass.
fn backoff_first_ms(cause: Cause) -> u64 {
    match cause {
        // Its user still looks at the screen, and nothing is gained by waiting.
        Cause::OutOfMemory
        | Cause::DriverDied
        | Cause::AttemptLost
        | Cause::DriverFailed
        | Cause::NotStarted
        | Cause::NotPrepared
        | Cause::WorkersKeepDying
        | Cause::Stuck => 500,
        // Whoever took the place is still there.
        Cause::Preempted => 2_000,
        // A service that rows need takes a while to come back.
        Cause::TransientErrors => 5_000,
    }
}

/// The longest back-off: longer ones only hide that something is wrong.
const BACKOFF_LONGEST_MS: u64 = 60_000;

/// How long to wait before retry `number` (from one) after `cause`, in milliseconds: doubled each time, capped, and then between half
/// and all of it ("equal jitter", Brooker, AWS Architecture Blog, 2015), so that what failed together does not come back together. The
/// jitter follows from `seed`, so the same history gives the same waits.
#[must_use]
pub fn backoff_ms(cause: Cause, number: u32, seed: &str) -> u64 {
    let doubled = backoff_first_ms(cause).saturating_mul(1 << number.saturating_sub(1).min(20));
    let half = doubled.min(BACKOFF_LONGEST_MS) / 2;
    half + hash(seed, number) % (half + 1)
}

/// FNV-1a (Fowler, Noll, Vo), finished by the mixer of SplitMix64 (Steele et al. 2014): enough to spread, and the same everywhere.
fn hash(seed: &str, number: u32) -> u64 {
    let bytes = seed.bytes().chain(number.to_le_bytes());
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_are_spread_over_their_upper_half() {
        for number in 1..12 {
            let full = (500 << (number - 1)).min(60_000);
            let waits: Vec<u64> = (0..200)
                .map(|n| backoff_ms(Cause::DriverDied, number, &format!("job_{n}.1")))
                .collect();
            let (low, high) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*low >= full / 2 && *high <= full, "{low} {high} {full}");
            assert!(high - low > full / 3, "no spread: {low} {high} {full}");
        }
    }

    #[test]
    fn the_same_history_gives_the_same_wait() {
        let wait = |seed| backoff_ms(Cause::Preempted, 2, seed);
        assert_eq!(wait("job_a.1"), wait("job_a.1"));
        assert_ne!(wait("job_a.1"), wait("job_b.1"));
    }

    #[test]
    fn failures_are_counted_against_all_rows() {
        let policy = HealingPolicy {
            failed_percent_max: Some(10.0),
            ..HealingPolicy::default()
        };
        let failed = |failed| RowCounts {
            failed,
            ..RowCounts::default()
        };
        assert!(!fails_too_much(&policy, 100, &failed(10)));
        assert!(fails_too_much(&policy, 100, &failed(11)));
        assert!(!fails_too_much(&HealingPolicy::default(), 1, &failed(1)));
        let none = HealingPolicy {
            failed_percent_max: Some(0.0),
            ..HealingPolicy::default()
        };
        assert!(!fails_too_much(&none, 0, &failed(0)));
        assert!(fails_too_much(&none, 100, &failed(1)));
    }
}
