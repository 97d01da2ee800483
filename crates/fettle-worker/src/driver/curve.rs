//! A memory curve of bounded length: dense while it is short, thinned to half whenever it is full.

use fettle_model::UnixMillis;
use fettle_model::evidence::MemorySample;

/// Points of a curve at most: enough for a chart of any width that people look at, little enough to store with each death.
pub(super) const CURVE_POINTS_MAX: usize = 120;
/// The first distance of points, in milliseconds: a worker that dies young leaves a curve all the same.
const FIRST_STEP_MS: u64 = 100;

/// The memory of one worker over time.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    points: Vec<MemorySample>,
    step_ms: u64,
}

impl Curve {
    /// No points.
    pub(super) fn new() -> Self {
        Self {
            points: Vec::new(),
            step_ms: FIRST_STEP_MS,
        }
    }

    /// Whether a point at `now` would be kept, so that reading for another can be saved.
    pub(super) fn wants(&self, now: UnixMillis) -> bool {
        self.points
            .last()
            .is_none_or(|last| now.since(last.at) >= self.step_ms)
    }

    /// Adds a point.
    pub(super) fn push(&mut self, point: MemorySample) {
        if self.points.len() == CURVE_POINTS_MAX {
            self.thin();
        }
        self.points.push(point);
    }

    /// The points, oldest first.
    pub(super) fn points(&self) -> Vec<MemorySample> {
        self.points.clone()
    }

    /// Keeps of each two neighbours the higher one: peaks are what a curve is looked at for.
    fn thin(&mut self) {
        let higher = |pair: &[MemorySample]| pair.iter().copied().max_by_key(|point| point.bytes);
        self.points = self.points.chunks(2).filter_map(higher).collect();
        self.step_ms = self.step_ms.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_life_keeps_its_length_its_order_and_its_peak() {
        let mut curve = Curve::new();
        for tick in 0..100_000_i64 {
            let now = UnixMillis(tick * 100);
            if curve.wants(now) {
                let bytes = if (50_000..51_000).contains(&tick) {
                    9
                } else {
                    1
                };
                curve.push(MemorySample { at: now, bytes });
            }
        }
        let points = curve.points();
        assert!(
            (CURVE_POINTS_MAX / 2..=CURVE_POINTS_MAX).contains(&points.len()),
            "{}",
            points.len()
        );
        assert!(points.is_sorted_by_key(|point| point.at));
        assert!(points.iter().any(|point| point.bytes == 9));
    }
}
