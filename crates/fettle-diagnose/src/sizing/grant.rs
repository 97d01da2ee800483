//! From a wish to what the node can give.
//!
//! Owns rounding and capping. It must not know where the wish comes from.

use crate::remedy::ResourceOverrides;

use super::{Demand, NextMemory, SizingInput, Wanted};

/// What a worker may have.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryGrant {
    /// The limit of each worker, in bytes.
    pub memory_bytes: u64,
    /// With so many workers, where the present number would not fit on the node.
    pub workers: Option<u32>,
    /// Whether the node has less than was wished for.
    pub is_capped: bool,
    /// Where the size comes from, as a clause.
    pub basis: String,
}

impl MemoryGrant {
    /// The grant as what a retry takes.
    #[must_use]
    pub fn overrides(&self) -> ResourceOverrides {
        ResourceOverrides {
            memory_bytes: Some(self.memory_bytes),
            num_cpus: self.workers.map(f64::from),
            ..ResourceOverrides::default()
        }
    }
}

/// Limits are whole steps, so that they read well and small differences do not look like knowledge: of this below `COARSE_FROM_BYTES`,
const FINE_STEP_BYTES: u64 = 8 << 20;
/// and of this above, where it is less than a tenth.
const COARSE_STEP_BYTES: u64 = 64 << 20;
const COARSE_FROM_BYTES: u64 = 1 << 30;

/// A limit that the node raises by less than this share is not worth another attempt.
const RAISE_SHARE_MIN: f64 = 1.1;

/// The wish, capped by the node: first fewer workers share it, then one worker gets all of it; when that is not above the present
/// limit, more memory cannot help.
pub(super) fn cap(input: &SizingInput<'_>, wanted: Wanted) -> NextMemory {
    let memory_bytes = round_up(wanted.bytes);
    let give = |memory_bytes, workers, is_capped| {
        let grant = MemoryGrant {
            memory_bytes,
            workers,
            is_capped,
            basis: wanted.basis.clone(),
        };
        if wanted.is_lane {
            NextMemory::RowsLane {
                grant,
                rows: input.suspects.clone(),
            }
        } else {
            NextMemory::Job(grant)
        }
    };
    let Some(node) = input.node_memory_bytes else {
        return give(memory_bytes, None, false);
    };
    let workers = input.workers.max(1);
    let fitting = u32::try_from(node / memory_bytes.max(1)).unwrap_or(u32::MAX);
    if fitting >= 1 {
        return give(memory_bytes, (fitting < workers).then_some(fitting), false);
    }
    let most_bytes = node - node % step(node);
    let is_more = most_bytes as f64 >= input.limit_bytes as f64 * RAISE_SHARE_MIN;
    match input.demand {
        Demand::Leak { .. } => NextMemory::WillNotHelp {
            most_bytes,
            why: "use grows with the rows, and all that the node has would not last to the end"
                .to_owned(),
        },
        _ if is_more => give(most_bytes, (workers > 1).then_some(1), true),
        _ => NextMemory::WillNotHelp {
            most_bytes,
            why: "the node has hardly more to give".to_owned(),
        },
    }
}

/// The next whole step.
pub(super) fn round_up(bytes: u64) -> u64 {
    let step = step(bytes);
    bytes.div_ceil(step).max(1).saturating_mul(step)
}

fn step(bytes: u64) -> u64 {
    if bytes < COARSE_FROM_BYTES {
        FINE_STEP_BYTES
    } else {
        COARSE_STEP_BYTES
    }
}
