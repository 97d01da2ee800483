//! How many hosts on other nodes are worth their start.
//!
//! Owns the numbers. Pure: what is left to do in, a count out.

/// A host takes some seconds to be there: Python, the program, the extractor. It is asked for only if it will work this long, in milliseconds.
const WORTH_MS: u64 = 10_000;
/// Before this much of work, in milliseconds, nobody knows how long rows take.
const KNOWN_AFTER_MS: u64 = 2_000;

/// What is left to do, and what was needed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Rows that nobody holds.
    pub(super) waiting_rows: u64,
    /// Rows that are done.
    pub(super) ended_rows: u64,
    /// Time that workers were ready for rows so far, added up, in milliseconds.
    pub(super) worked_ms: u64,
    /// The driver's own workers, which do their share.
    pub(super) own_workers: u64,
}

impl Load {
    /// How many hosts beside the driver's own workers are worth it, `hosts_max` at most.
    pub(super) fn hosts_wanted(self, hosts_max: u64) -> u64 {
        if self.worked_ms < KNOWN_AFTER_MS {
            return 0;
        }
        // Where no row has ended yet, one takes at least as long as was worked.
        let row_ms = self.worked_ms / self.ended_rows.max(1);
        let left_ms = self.waiting_rows.saturating_mul(row_ms);
        let busy = (left_ms / WORTH_MS).saturating_sub(self.own_workers);
        busy.min(self.waiting_rows).min(hosts_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(waiting_rows: u64, ended_rows: u64, worked_ms: u64, expected: u64) {
        let load = Load {
            waiting_rows,
            ended_rows,
            worked_ms,
            own_workers: 1,
        };
        assert_eq!(load.hosts_wanted(8), expected, "{load:?}");
    }

    #[test]
    fn hosts_are_wanted_for_work_that_outlasts_their_start() {
        // Nothing is known yet.
        check(1_000, 0, 100, 0);
        // Two thousand quick rows are done before a host is there.
        check(1_000, 1_000, 2_000, 0);
        // A second for each row.
        check(19, 2, 2_000, 0);
        check(20, 2, 2_000, 1);
        check(45, 2, 2_000, 3);
        check(1_000, 2, 2_000, 8);
        // Rows that take minutes: one host for each.
        check(3, 0, 60_000, 3);
        check(0, 0, 60_000, 0);
    }
}
