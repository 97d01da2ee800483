//! How many bytes may be held between two stages, so that fast stages do not fill the memory that slow ones need.
//!
//! Owns the accounting only. One thing that is larger than everything allowed gets through, but alone.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in steps of this size: a semaphore's permits are few, and small things need not be exact.
const STEP_BYTES: u64 = 4096;
/// A budget is at least this, whatever the worker's limit: below it nothing would overlap.
const BUDGET_BYTES_MIN: u64 = 16 << 20;
/// More does not help: these are a few full-sized blobs.
const BUDGET_BYTES_MAX: u64 = 512 << 20;
/// The share of a worker's memory that one budget gets; there are two, and the extractor needs the rest.
const SHARE: u64 = 8;

/// Bytes that may be held at once.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    steps: Arc<Semaphore>,
    total: u32,
}

/// Gives its bytes back when dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// The budget of a worker with this memory limit.
    pub(crate) fn of_limit(memory_bytes: u64) -> Self {
        let bytes = (memory_bytes / SHARE).clamp(BUDGET_BYTES_MIN, BUDGET_BYTES_MAX);
        let total = u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX);
        Self {
            steps: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits until `bytes` may be held; `None` only when the budget is closed, which never happens.
    pub(crate) async fn hold(&self, bytes: u64) -> Option<Held> {
        let steps = bytes.div_ceil(STEP_BYTES).clamp(1, u64::from(self.total));
        let steps = u32::try_from(steps).unwrap_or(self.total);
        Arc::clone(&self.steps)
            .acquire_many_owned(steps)
            .await
            .ok()
            .map(Held)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_thing_larger_than_the_budget_goes_through_alone() {
        let budget = Budget::of_limit(0);
        let large = budget.hold(u64::MAX).now_or_never();
        assert!(large.is_some());
        assert!(budget.hold(1).now_or_never().is_none());
        drop(large);
        assert!(budget.hold(1).now_or_never().is_some());
    }
}
