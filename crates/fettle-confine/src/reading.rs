//! One reading of the memory of a group of processes.
//!
//! Owns the shape that all kinds of confinement are read into. Absent counters are absent, never zero.

use serde::{Deserialize, Serialize};

use fettle_model::evidence::{MemoryEnforcement, MemorySample};
use fettle_model::{MemoryEvidence, UnixMillis};

/// What the counters of a group say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReading {
    /// Whose counters these are.
    pub enforcement: MemoryEnforcement,
    /// Memory in use, in bytes; for a cgroup this includes page cache.
    pub current_bytes: u64,
    /// The part of it that cannot be reclaimed by dropping page cache, in bytes.
    pub anonymous_bytes: Option<u64>,
    /// The highest use so far, in bytes.
    pub peak_bytes: Option<u64>,
    /// The limit, in bytes.
    pub limit_bytes: Option<u64>,
    /// Processes that the kernel killed here for lack of memory.
    pub oom_kills: Option<u64>,
    /// Times that the limit was hit; page cache that had to go counts as well.
    pub limit_hits: Option<u64>,
}

impl MemoryReading {
    /// A reading in which nothing is known.
    #[must_use]
    pub fn unknown(enforcement: MemoryEnforcement, limit_bytes: Option<u64>) -> Self {
        Self {
            enforcement,
            current_bytes: 0,
            anonymous_bytes: None,
            peak_bytes: None,
            limit_bytes,
            oom_kills: None,
            limit_hits: None,
        }
    }

    /// Whether use is above the limit, which only happens where the kernel does not enforce it on resident memory.
    /// The driver then ends the worker.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.enforcement == MemoryEnforcement::Rlimit
            && self
                .limit_bytes
                .is_some_and(|limit| self.current_bytes > limit)
    }

    /// This reading as one point of a curve.
    #[must_use]
    pub fn sample(&self, at: UnixMillis) -> MemorySample {
        MemorySample {
            at,
            bytes: self.current_bytes,
        }
    }

    /// This reading as evidence.
    #[must_use]
    pub fn to_evidence(&self, curve: Vec<MemorySample>) -> MemoryEvidence {
        MemoryEvidence {
            enforcement: self.enforcement,
            limit_bytes: self.limit_bytes,
            peak_bytes: self.peak_bytes,
            oom_kills: self.oom_kills,
            limit_hits: self.limit_hits,
            curve,
        }
    }
}
