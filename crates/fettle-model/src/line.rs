//! A straight line through points that come one by one: least squares from sums, which can be added.

use serde::{Deserialize, Serialize};

/// Fewer points than this make no line: two always fit.
const POINTS_MIN: u64 = 5;
/// A line must explain this share of the variance (R²) to be one; chance rarely gets so far.
const EXPLAINED_MIN: f64 = 0.8;

/// What is kept of the points.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Points {
    count: u64,
    sum_x: f64,
    sum_y: f64,
    sum_xx: f64,
    sum_xy: f64,
    sum_yy: f64,
}

/// A rising line, as the points show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Where it begins.
    pub base: f64,
    /// How much it rises for each unit; more than zero.
    pub slope: f64,
    /// Standard deviation of the points from it.
    pub spread: f64,
}

impl Points {
    /// Adds a point.
    pub fn record(&mut self, x: u64, y: u64) {
        let (x, y) = (x as f64, y as f64);
        self.merge(&Self {
            count: 1,
            sum_x: x,
            sum_y: y,
            sum_xx: x * x,
            sum_xy: x * y,
            sum_yy: y * y,
        });
    }

    /// Adds another's points.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_x += other.sum_x;
        self.sum_y += other.sum_y;
        self.sum_xx += other.sum_xx;
        self.sum_xy += other.sum_xy;
        self.sum_yy += other.sum_yy;
    }

    /// The line through them, if they lie on a rising one.
    #[must_use]
    pub fn line(&self) -> Option<Line> {
        if self.count < POINTS_MIN {
            return None;
        }
        let count = self.count as f64;
        let of_x = self.sum_xx - self.sum_x * self.sum_x / count;
        let of_y = self.sum_yy - self.sum_y * self.sum_y / count;
        let both = self.sum_xy - self.sum_x * self.sum_y / count;
        // Sums of squares lose their last digits in a difference; what is left must be more than that.
        if of_x <= self.sum_xx * 1e-9 || of_y <= self.sum_yy * 1e-9 || both <= 0.0 {
            return None;
        }
        let slope = both / of_x;
        if both * slope / of_y < EXPLAINED_MIN {
            return None;
        }
        let unexplained = (of_y - both * slope).max(0.0);
        Some(Line {
            base: (self.sum_y - slope * self.sum_x) / count,
            slope,
            spread: (unexplained / (count - 2.0)).sqrt(),
        })
    }
}

impl Line {
    /// The value at `x`.
    #[must_use]
    pub fn at(&self, x: u64) -> f64 {
        self.base + self.slope * x as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(pairs: &[(u64, u64)]) -> Points {
        let mut points = Points::default();
        pairs.iter().for_each(|(x, y)| points.record(*x, *y));
        points
    }

    #[test]
    fn points_on_a_line_give_that_line_in_parts_or_together() {
        let pairs: Vec<(u64, u64)> = (1..20).map(|x| (x, 1_000 + 7 * x)).collect();
        let mut merged = points(&pairs[..9]);
        merged.merge(&points(&pairs[9..]));
        let line = merged.line().unwrap();
        assert!((line.base - 1_000.0).abs() < 1e-3 && (line.slope - 7.0).abs() < 1e-6);
        assert!(line.spread < 0.1 && (line.at(100) - 1_700.0).abs() < 1e-3);
    }

    #[test]
    fn what_is_no_rising_line_gives_none() {
        assert!(points(&[(1, 1), (2, 2)]).line().is_none(), "too few");
        let flat: Vec<(u64, u64)> = (1..20).map(|x| (x, 500 + x % 3)).collect();
        assert!(points(&flat).line().is_none());
        let falling: Vec<(u64, u64)> = (1..20).map(|x| (x, 500 - x)).collect();
        assert!(points(&falling).line().is_none());
        let one_place: Vec<(u64, u64)> = (1..20).map(|y| (8, y)).collect();
        assert!(points(&one_place).line().is_none());
    }
}
