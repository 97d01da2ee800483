//! How much memory to ask for next.
//!
//! Owns the formula. It must not decide whether memory was the cause.

use serde::{Deserialize, Serialize};

use crate::words;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeed {
    /// The limit of each worker at that time, in bytes.
    pub limit_bytes: u64,
    /// The highest use of a worker, in bytes, with an allocation that was refused on top of it.
    pub peak_bytes: u64,
    /// Whether the process was ended while its use still rose; then the peak is only a lower bound of what it needs.
    pub was_still_climbing: bool,
    /// How many workers an attempt starts.
    pub workers: u32,
    /// What all workers of an attempt may have together, in bytes; `None` when it is not known.
    pub node_memory_bytes: Option<u64>,
}

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "advice", rename_all = "snake_case")]
pub enum MemoryAdvice {
    /// A higher limit.
    Raise {
        /// The new limit of each worker, in bytes.
        memory_bytes: u64,
        /// With so many workers, where the present number would not fit on the node.
        workers: Option<u32>,
        /// Whether the node has less than the formula asks for.
        is_capped: bool,
    },
    /// The node has no more to give.
    NoMore {
        /// The most that one worker could have, in bytes.
        most_bytes: u64,
    },
}

/// Limits are whole steps of this, so that they read well and small differences do not look like knowledge.
pub(crate) const MEMORY_STEP_BYTES: u64 = 64 << 20;

/// A limit that the node raises by less than this share is not worth another attempt.
const RAISE_SHARE_MIN: f64 = 1.1;

/// What to ask for next.
///
/// ```text
/// wanted = max(1.5 × peak, 2 × limit if the process was ended while still climbing), rounded up to 64 MiB
/// ```
///
/// 1.5: a peak that was measured in full is met again within a half (other rows, another allocator's mood). 2: where the limit cut the
/// curve off, the peak equals the limit and says nothing of the need, so the search doubles; it ends after log2(need ÷ limit) attempts.
/// The wish is capped by the node: first fewer workers share it, then one worker gets all of it; when that is not above the present
/// limit, more memory cannot help.
#[must_use]
pub fn advise(need: &MemoryNeed) -> MemoryAdvice {
    let measured = need.peak_bytes.saturating_add(need.peak_bytes / 2);
    let doubled = if need.was_still_climbing {
        need.limit_bytes.saturating_mul(2)
    } else {
        0
    };
    let wanted = round_up(measured.max(doubled));
    let Some(node) = need.node_memory_bytes else {
        return MemoryAdvice::Raise {
            memory_bytes: wanted,
            workers: None,
            is_capped: false,
        };
    };
    let workers = need.workers.max(1);
    let fitting = u32::try_from(node / wanted.max(1)).unwrap_or(u32::MAX);
    if fitting >= 1 {
        return MemoryAdvice::Raise {
            memory_bytes: wanted,
            workers: (fitting < workers).then_some(fitting),
            is_capped: false,
        };
    }
    let most_bytes = node - node % MEMORY_STEP_BYTES;
    if most_bytes as f64 >= need.limit_bytes as f64 * RAISE_SHARE_MIN {
        MemoryAdvice::Raise {
            memory_bytes: most_bytes,
            workers: (workers > 1).then_some(1),
            is_capped: true,
        }
    } else {
        MemoryAdvice::NoMore { most_bytes }
    }
}

fn round_up(bytes: u64) -> u64 {
    bytes
        .div_ceil(MEMORY_STEP_BYTES)
        .max(1)
        .saturating_mul(MEMORY_STEP_BYTES)
}

/// The formula with its numbers, for people.
pub(crate) fn explain(need: &MemoryNeed) -> String {
    let peak = words::bytes(need.peak_bytes);
    let limit = words::bytes(need.limit_bytes);
    if need.was_still_climbing {
        format!(
            "the larger of 1.5 × peak ({peak}) and 2 × limit ({limit}), because the process was still growing when it was stopped"
        )
    } else {
        format!("1.5 × the measured peak ({peak})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn need() -> MemoryNeed {
        MemoryNeed {
            limit_bytes: 256 * MIB,
            peak_bytes: 256 * MIB,
            was_still_climbing: true,
            workers: 1,
            node_memory_bytes: Some(8 * GIB),
        }
    }

    fn raise(mib: u64) -> MemoryAdvice {
        MemoryAdvice::Raise {
            memory_bytes: mib * MIB,
            workers: None,
            is_capped: false,
        }
    }

    #[test]
    fn a_cut_off_peak_doubles_the_limit_and_a_measured_peak_gets_half_more() {
        assert_eq!(advise(&need()), raise(512));
        let measured = MemoryNeed {
            was_still_climbing: false,
            ..need()
        };
        assert_eq!(advise(&measured), raise(384));
    }

    #[test]
    fn the_limit_is_a_whole_number_of_steps() {
        let odd = MemoryNeed {
            peak_bytes: 200 * MIB + 1,
            was_still_climbing: false,
            ..need()
        };
        assert_eq!(advise(&odd), raise(320));
    }

    #[test]
    fn workers_give_way_before_the_limit_does() {
        let crowded = MemoryNeed {
            workers: 4,
            node_memory_bytes: Some(GIB),
            ..need()
        };
        let expected = MemoryAdvice::Raise {
            memory_bytes: 512 * MIB,
            workers: Some(2),
            is_capped: false,
        };
        assert_eq!(advise(&crowded), expected);
    }

    #[test]
    fn the_node_caps_the_limit_and_says_when_it_has_no_more() {
        let capped = MemoryNeed {
            node_memory_bytes: Some(400 * MIB),
            ..need()
        };
        let expected = MemoryAdvice::Raise {
            memory_bytes: 384 * MIB,
            workers: None,
            is_capped: true,
        };
        assert_eq!(advise(&capped), expected);
        let full = MemoryNeed {
            node_memory_bytes: Some(270 * MIB),
            ..need()
        };
        assert_eq!(
            advise(&full),
            MemoryAdvice::NoMore {
                most_bytes: 256 * MIB
            }
        );
    }

    #[test]
    fn an_unknown_node_does_not_cap_and_huge_numbers_do_not_overflow() {
        let unknown = MemoryNeed {
            node_memory_bytes: None,
            ..need()
        };
        assert_eq!(advise(&unknown), raise(512));
        let huge = MemoryNeed {
            limit_bytes: u64::MAX,
            peak_bytes: u64::MAX,
            ..need()
        };
        assert!(matches!(advise(&huge), MemoryAdvice::NoMore { .. }));
    }
}
