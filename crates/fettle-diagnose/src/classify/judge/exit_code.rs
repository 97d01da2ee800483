//! What an exit code alone says.
//!
//! Owns the meaning of statuses and signals without a text. It must not outvote a text that names a cause.

use fettle_model::{FailureCategory, InfraEventType};

use crate::classify::rule::{Strength, Verdict};

/// What a code says.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExitFinding {
    pub(super) rule_id: &'static str,
    pub(super) verdict: Verdict,
    pub(super) confidence: f64,
    pub(super) why: &'static str,
    strength: Strength,
}

impl ExitFinding {
    /// Whether the code says more than a finding of this strength.
    pub(super) fn outweighs(&self, strength: Strength) -> bool {
        self.strength > strength
    }
}

/// Reads a code; zero says nothing.
pub(super) fn read(code: i32) -> Option<ExitFinding> {
    let signal = match code {
        0 => return None,
        code if code < 0 => code.checked_neg()?,
        code if code > 128 => code - 128,
        _ => 0,
    };
    Some(match (signal, code) {
        (9, _) => killed(
            "exit.sigkill",
            "The process was killed with SIGKILL. That says nothing about who did it or why: the kernel's memory counters of its group would.",
        ),
        (1 | 2 | 15, _) => killed(
            "exit.sigterm",
            "The process was asked to end by a signal, and nothing says by whom.",
        ),
        (4 | 6 | 7 | 8 | 11 | 31, _) => crashed(),
        (_, 124) => timed_out(),
        _ => failed(),
    })
}

fn killed(rule_id: &'static str, why: &'static str) -> ExitFinding {
    ExitFinding {
        rule_id,
        verdict: Verdict {
            category: FailureCategory::Infrastructure,
            event: Some(InfraEventType::Unknown),
            class: None,
        },
        confidence: 0.75,
        why,
        strength: Strength::Symptom,
    }
}

fn crashed() -> ExitFinding {
    ExitFinding {
        rule_id: "exit.crash-signal",
        verdict: PIPELINE,
        confidence: 0.65,
        why: "The process crashed with a signal of its own: native code failed.",
        strength: Strength::Symptom,
    }
}

fn timed_out() -> ExitFinding {
    ExitFinding {
        rule_id: "exit.timeout",
        verdict: Verdict {
            category: FailureCategory::Timeout,
            event: None,
            class: None,
        },
        confidence: 0.6,
        why: "Status 124 is how `timeout` says that the limit on time was passed.",
        strength: Strength::Symptom,
    }
}

fn failed() -> ExitFinding {
    ExitFinding {
        rule_id: "exit.status",
        verdict: PIPELINE,
        confidence: 0.5,
        why: "The program ended by itself with an error status, and the text does not say why.",
        strength: Strength::Fact,
    }
}

const PIPELINE: Verdict = Verdict {
    category: FailureCategory::Pipeline,
    event: None,
    class: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_statuses_and_signals() {
        let cases = [
            (137, "exit.sigkill"),
            (-9, "exit.sigkill"),
            (143, "exit.sigterm"),
            (-11, "exit.crash-signal"),
            (134, "exit.crash-signal"),
            (124, "exit.timeout"),
            (1, "exit.status"),
            (i32::MIN, ""),
        ];
        for (code, expected) in cases {
            assert_eq!(
                read(code).map_or("", |found| found.rule_id),
                expected,
                "{code}"
            );
        }
        assert!(read(0).is_none());
    }
}
