//! What may be done by itself when work fails: causes, budgets, policies, and what became of a remedy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Attempts that any one cause may be followed by, whatever a policy says: nothing retries without a limit.
pub const BUDGET_MAX: u32 = 20;
/// How much a limit of memory may grow from one attempt to the next where a policy says nothing.
pub const MEMORY_GROWTH_DEFAULT: f64 = 4.0;

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident => $text:literal $(| $old:literal)*, budget $budget:literal, kind $kind:ident;)*) => {
        /// Why another attempt is made. Each has a budget of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Cause {
            $($(#[$doc])* #[serde(rename = $text $(, alias = $old)*)] $name,)*
        }

        impl Cause {
            /// All causes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in policies, answers and the timeline.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Attempts that it may be followed by where a policy says nothing.
            #[must_use]
            pub fn budget_default(self) -> u32 {
                match self { $(Self::$name => $budget,)* }
            }

            fn kind(self) -> CauseKind {
                match self { $(Self::$name => CauseKind::$kind,)* }
            }
        }
    };
}

/// Whose fault a cause is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CauseKind {
    /// Not the work's: the same again, elsewhere or later, is expected to do.
    Infrastructure,
    /// The work's, or its request's: a remedy is a decision.
    Work,
}

causes! {
    /// Workers ran out of memory. Each raise doubles at least, so three reach eight times the first limit.
    OutOfMemory => "out_of_memory", budget 3, kind Work;
    /// The attempt was stopped and nobody had asked for it: a preemption, or an operator of the cluster.
    Preempted => "preempted", budget 5, kind Infrastructure;
    /// The driver vanished without a word. Enough to outlive a reboot or two kills, few enough that a driver that always dies is noticed.
    DriverDied => "driver_died" | "infrastructure", budget 3, kind Infrastructure;
    /// The backend knows nothing of the attempt.
    AttemptLost => "attempt_lost", budget 3, kind Infrastructure;
    /// The driver itself failed, for example because a disk was full for a moment.
    DriverFailed => "driver_failed" | "driver", budget 2, kind Infrastructure;
    /// The backend could not start the attempt: about a minute with its back-off.
    NotStarted => "not_started" | "start", budget 5, kind Infrastructure;
    /// The rows could not be prepared: about a minute with its back-off.
    NotPrepared => "not_prepared" | "manifest", budget 5, kind Infrastructure;
    /// Workers kept dying of something else than memory. Once more tells a passing trouble from a lasting one.
    WorkersKeepDying => "workers_keep_dying", budget 1, kind Work;
    /// The attempt did not move, and was ended for it.
    Stuck => "stuck", budget 2, kind Work;
    /// Rows failed of something that may pass.
    TransientErrors => "transient_errors", budget 2, kind Work;
}

impl Cause {
    /// Whether it is not the work's fault, so that the same attempt again is no change of what was asked for.
    #[must_use]
    pub fn is_infrastructure(self) -> bool {
        self.kind() == CauseKind::Infrastructure
    }
}

/// What may be done by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealingMode {
    /// Nothing: the first end of an attempt is the job's.
    Off,
    /// Troubles of the infrastructure are outlived; for the rest the diagnosis suggests remedies.
    #[default]
    Suggest,
    /// Remedies are applied.
    Auto,
}

impl HealingMode {
    /// The word in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Suggest => "suggest",
            Self::Auto => "auto",
        }
    }
}

/// What may be done by itself, and how far. The nearest of batch, bucket and namespace that has one counts, as a whole.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealingPolicy {
    /// How much.
    pub mode: HealingMode,
    /// For these causes alone; none means all.
    pub causes: Option<BTreeSet<Cause>>,
    /// Attempts that a cause may be followed by, where it is not the default.
    pub budgets: BTreeMap<Cause, u32>,
    /// The most that a worker's memory is raised to, in bytes; the backend's own limit where there is none.
    pub memory_bytes_max: Option<u64>,
    /// How much memory may grow from one attempt to the next, as a factor.
    pub memory_growth_max: Option<f64>,
    /// The batch is stopped when more rows than this fail, in percent; none means never.
    pub failed_percent_max: Option<f64>,
    /// Whether memory that was raised is lowered again when all rows are done and the need stays far below.
    pub memory_shrinks: bool,
}

impl HealingPolicy {
    /// Attempts that `cause` may be followed by when nobody asks.
    #[must_use]
    pub fn limit(&self, cause: Cause) -> u32 {
        match self.mode {
            HealingMode::Off => 0,
            HealingMode::Suggest if !cause.is_infrastructure() => 0,
            HealingMode::Suggest | HealingMode::Auto => self.budget(cause),
        }
    }

    /// Attempts that `cause` may be followed by when a user applies the remedy.
    #[must_use]
    pub fn budget(&self, cause: Cause) -> u32 {
        let is_left_out = |causes: &BTreeSet<Cause>| !causes.contains(&cause);
        if self.causes.as_ref().is_some_and(is_left_out) {
            return 0;
        }
        let given = self.budgets.get(&cause).copied();
        given.unwrap_or(cause.budget_default()).min(BUDGET_MAX)
    }

    /// Whether a worker that stands still may be ended for it. Its rows are tried again within the attempt, so this changes nothing of what
    /// was asked for.
    #[must_use]
    pub fn may_end_workers(&self) -> bool {
        self.mode != HealingMode::Off && self.budget(Cause::Stuck) > 0
    }

    /// The most memory that may follow `present`, in bytes.
    #[must_use]
    pub fn memory_bytes_after(&self, present: u64) -> u64 {
        let factor = self.memory_growth_max.unwrap_or(MEMORY_GROWTH_DEFAULT);
        // Bytes are far below 2^53; the cast saturates.
        let grown = (present as f64 * factor.max(1.0)) as u64;
        grown.min(self.memory_bytes_max.unwrap_or(u64::MAX))
    }
}

/// Who applied a remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppliedBy {
    /// The policy, by itself.
    Policy,
    /// A user.
    User,
}

/// What was done about a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "remedy", rename_all = "snake_case")]
pub enum RemedyTaken {
    /// The same again.
    Retry,
    /// The same with more memory for each worker.
    RaiseMemory {
        /// From this, in bytes.
        from_bytes: u64,
        /// To this, in bytes.
        to_bytes: u64,
    },
    /// Rows that were failed for lack of memory are tried again with more, and nothing else is.
    Lane {
        /// How many.
        rows: u64,
        /// From this, in bytes.
        from_bytes: u64,
        /// To this, in bytes.
        to_bytes: u64,
    },
    /// Failed rows whose error may pass were given back.
    RetryFailedRows {
        /// How many.
        rows: u64,
    },
    /// The attempt was ended, and its unfinished rows are tried again.
    Restart,
}

impl RemedyTaken {
    /// The word in answers, and in the rule whose success is counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RaiseMemory { .. } => "raise_memory",
            Self::Lane { .. } => "lane",
            Self::RetryFailedRows { .. } => "retry_failed_rows",
            Self::Restart => "restart",
        }
    }
}

/// What became of a remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemedyOutcome {
    /// The next attempt did what the last one could not.
    Worked,
    /// The next attempt ended by the same cause.
    Failed,
    /// It was not put to the test: a cancel, or another cause, came first.
    Untried,
}

impl RemedyOutcome {
    /// The word in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worked => "worked",
            Self::Failed => "failed",
            Self::Untried => "untried",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_may_change_what_was_asked_for() {
        let limit = |mode, cause| {
            let policy = HealingPolicy {
                mode,
                ..HealingPolicy::default()
            };
            policy.limit(cause)
        };
        assert_eq!(limit(HealingMode::Off, Cause::DriverDied), 0);
        assert_eq!(limit(HealingMode::Suggest, Cause::DriverDied), 3);
        assert_eq!(limit(HealingMode::Suggest, Cause::OutOfMemory), 0);
        assert_eq!(limit(HealingMode::Auto, Cause::OutOfMemory), 3);
    }

    #[test]
    fn a_policy_narrows_causes_and_budgets_and_cannot_lift_the_last_limit() {
        let policy = HealingPolicy {
            mode: HealingMode::Auto,
            causes: Some(BTreeSet::from([Cause::Stuck, Cause::OutOfMemory])),
            budgets: BTreeMap::from([(Cause::Stuck, 1_000)]),
            ..HealingPolicy::default()
        };
        assert_eq!(policy.limit(Cause::Stuck), BUDGET_MAX);
        assert_eq!(policy.limit(Cause::OutOfMemory), 3);
        assert_eq!(policy.limit(Cause::DriverDied), 0);
    }

    #[test]
    fn memory_grows_by_a_factor_up_to_a_cap() {
        let mut policy = HealingPolicy::default();
        assert_eq!(policy.memory_bytes_after(100), 400);
        policy.memory_growth_max = Some(2.0);
        assert_eq!(policy.memory_bytes_after(100), 200);
        policy.memory_bytes_max = Some(150);
        assert_eq!(policy.memory_bytes_after(100), 150);
    }

    #[test]
    fn budgets_are_read_by_their_old_names_too() {
        let old = r#"{"infrastructure":1,"driver":2,"start":0,"manifest":3}"#;
        let read: BTreeMap<Cause, u32> = serde_json::from_str(old).unwrap();
        assert_eq!(read[&Cause::DriverDied], 1);
        assert_eq!(read[&Cause::NotPrepared], 3);
        for cause in Cause::ALL {
            let json = serde_json::to_value(cause).unwrap();
            assert_eq!(json, cause.as_str());
        }
    }
}
