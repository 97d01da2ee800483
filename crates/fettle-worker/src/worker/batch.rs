//! How many rows the extractor is given at once: many, so that embeddings are computed together, but never for long, so that
//! outcomes come steadily and few rows are lost with a worker.

use std::time::Duration;

/// Batches that take less than this may grow.
const GROW_BELOW: Duration = Duration::from_millis(250);
/// Batches that take longer than this shrink.
const SHRINK_ABOVE: Duration = Duration::from_secs(1);

/// The size of the next batch, learned from those before.
#[derive(Debug)]
pub(super) struct BatchSize {
    rows: usize,
    rows_max: usize,
}

impl BatchSize {
    /// Begins with one row.
    pub(super) fn new(rows_max: usize) -> Self {
        Self {
            rows: 1,
            rows_max: rows_max.max(1),
        }
    }

    /// Rows of the next batch at most.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Learns that a batch of `rows` took `took`.
    pub(super) fn learn(&mut self, rows: usize, took: Duration) {
        if took > SHRINK_ABOVE {
            let per_row = took / u32::try_from(rows.max(1)).unwrap_or(u32::MAX);
            let fitting = SHRINK_ABOVE.as_millis() / per_row.as_millis().max(1);
            self.rows = usize::try_from(fitting)
                .unwrap_or(usize::MAX)
                .clamp(1, self.rows);
        } else if took < GROW_BELOW && rows >= self.rows {
            self.rows = (self.rows * 2).min(self.rows_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_batches_grow_and_slow_ones_shrink_to_what_fits_a_second() {
        let mut size = BatchSize::new(16);
        for expected in [2, 4, 8, 16, 16] {
            size.learn(size.rows(), Duration::from_millis(1));
            assert_eq!(size.rows(), expected);
        }
        size.learn(16, Duration::from_secs(4));
        assert_eq!(size.rows(), 4);
        size.learn(4, Duration::from_secs(60));
        assert_eq!(size.rows(), 1);
        size.learn(1, Duration::from_millis(500));
        assert_eq!(size.rows(), 1);
    }

    #[test]
    fn a_batch_that_was_not_full_teaches_nothing() {
        let mut size = BatchSize::new(16);
        size.learn(1, Duration::ZERO);
        size.learn(1, Duration::ZERO);
        assert_eq!(size.rows(), 2);
    }
}
