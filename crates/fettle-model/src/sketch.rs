//! Quantiles of a stream in little room: DDSketch.
//!
//! Charles Masson, Jee E. Rim and Homin K. Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees",
//! PVLDB 12(12), 2019. A value `v` falls into bin `⌈log_γ v⌉` with `γ = (1 + α) / (1 - α)`, so whatever is said of a bin is at most the
//! share `α` off. Bins are counts, so sketches are merged by adding them, in any order and grouping, with the same result.
//!
//! Values are whole numbers (microseconds, bytes), so there are never more than 1,110 bins and none need be given up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// α of the paper: a quantile is at most this share off.
pub const RELATIVE_ERROR: f64 = 0.02;
/// γ of the paper.
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// A distribution of whole numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sketch {
    /// How many values lie in each bin.
    #[serde(with = "pairs")]
    bins: BTreeMap<u16, u64>,
    /// Values that are zero, which has no logarithm.
    #[serde(default)]
    zeros: u64,
    /// Of all values; it stops at the largest number there is.
    sum: u64,
    min: u64,
    max: u64,
}

impl Sketch {
    /// The sketch of some values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut sketch = Self::default();
        values.into_iter().for_each(|value| sketch.record(value, 1));
        sketch
    }

    /// Adds `count` times `value`.
    pub fn record(&mut self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.min = if self.is_empty() {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
        match bin(value) {
            Some(bin) => *self.bins.entry(bin).or_default() += count,
            None => self.zeros += count,
        }
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.min = if self.is_empty() {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.zeros += other.zeros;
        for (bin, count) in &other.bins {
            *self.bins.entry(*bin).or_default() += count;
        }
    }

    /// Whether it has seen nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zeros == 0 && self.bins.is_empty()
    }

    /// How many values it has seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.bins.values().sum::<u64>()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest, exactly; zero when there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Their mean, exactly; `None` when there is none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum as f64 / self.count() as f64)
    }

    /// The value of rank `⌊share × (count - 1)⌋`, at most `RELATIVE_ERROR` and a half off; `None` when there is none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let last = self.count().checked_sub(1)?;
        let rank = (share.clamp(0.0, 1.0) * last as f64).floor() as u64;
        let mut seen = 0;
        let found = self.values().find(|(_, count)| {
            seen += count;
            seen > rank
        });
        found.map(|(value, _)| value)
    }

    /// Those of its values that lie above `floor`, as exactly as bins tell.
    #[must_use]
    pub fn above(&self, floor: u64) -> Self {
        self.part(|value| value > floor)
    }

    /// Its values in groups that are apart by more than a factor of `gap`, lowest first.
    #[must_use]
    pub fn modes(&self, gap: f64) -> Vec<Self> {
        let values: Vec<u64> = self.values().map(|(value, _)| value).collect();
        let apart = |pair: &&[u64]| pair[1] as f64 > pair[0] as f64 * gap;
        let cuts = values.windows(2).filter(apart).map(|pair| pair[0]);
        let mut from = None;
        let mut modes = Vec::new();
        for to in cuts.chain(values.last().copied()) {
            modes.push(self.part(|value| from.is_none_or(|from| value > from) && value <= to));
            from = Some(to);
        }
        modes
    }

    /// Values with their counts, ascending.
    fn values(&self) -> impl Iterator<Item = (u64, u64)> {
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        let rest = self
            .bins
            .iter()
            .map(|(bin, count)| (middle(*bin).clamp(self.min, self.max), *count));
        zeros.into_iter().chain(rest)
    }

    fn part(&self, takes: impl Fn(u64) -> bool) -> Self {
        let mut part = Self::default();
        for (value, count) in self.values().filter(|(value, _)| takes(*value)) {
            part.record(value, count);
        }
        part
    }
}

fn bin(value: u64) -> Option<u16> {
    // log_γ of the largest value is 1,109.1; the cast cannot wrap.
    (value > 0).then(|| ((value as f64).ln() / GAMMA.ln()).ceil() as u16)
}

/// The value that is at most `RELATIVE_ERROR` off from all of its bin.
fn middle(bin: u16) -> u64 {
    // The cast saturates.
    (2.0 * GAMMA.powi(i32::from(bin)) / (GAMMA + 1.0)).round() as u64
}

/// Bins as pairs of number and count: keys of JSON objects are texts, which are not read back as numbers inside tagged types.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bins: &BTreeMap<u16, u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(bins)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u16, u64>, D::Error> {
        let pairs = Vec::<(u16, u64)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of all magnitudes: small ones, round ones, the largest.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = prop_oneof![
            0..30_u64,
            0..10_000_000_u64,
            (0..64_u32).prop_map(|at| 1 << at),
            any::<u64>()
        ];
        prop::collection::vec(value, 1..200)
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_the_promised_error(mut values in values(), share in 0.0..=1.0_f64) {
            let sketch = Sketch::of(values.iter().copied());
            values.sort_unstable();
            let rank = (share * (values.len() - 1) as f64).floor() as usize;
            let (exact, told) = (values[rank] as f64, sketch.quantile(share).unwrap() as f64);
            prop_assert!((told - exact).abs() <= exact * (RELATIVE_ERROR + 1e-9) + 0.5, "{told} for {exact}");
            prop_assert_eq!(sketch.max(), *values.last().unwrap());
        }

        #[test]
        fn merging_is_seeing_all_values_in_any_order_and_grouping(a in values(), b in values(), c in values()) {
            let all = Sketch::of(a.iter().chain(&b).chain(&c).copied());
            let [a, b, c] = [a, b, c].map(Sketch::of);
            let merged = |parts: [&Sketch; 3]| {
                let mut sum = Sketch::default();
                parts.into_iter().for_each(|part| sum.merge(part));
                sum
            };
            prop_assert_eq!(&merged([&a, &b, &c]), &all);
            prop_assert_eq!(&merged([&c, &b, &a]), &all);
            let mut right = b.clone();
            right.merge(&c);
            let mut grouped = a.clone();
            grouped.merge(&right);
            prop_assert_eq!(grouped, all);
        }

        #[test]
        fn its_stored_form_is_read_as_it_was(values in values()) {
            let sketch = Sketch::of(values);
            let text = serde_json::to_string(&sketch).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
        }

        #[test]
        fn modes_and_what_lies_above_a_floor_lose_no_value(values in values(), floor in any::<u64>()) {
            let sketch = Sketch::of(values);
            let modes = sketch.modes(1.5);
            prop_assert_eq!(modes.iter().map(Sketch::count).sum::<u64>(), sketch.count());
            prop_assert!(sketch.above(floor).count() <= sketch.count());
            prop_assert!(sketch.above(floor).quantile(0.0).is_none_or(|least| least > floor));
        }
    }

    #[test]
    fn it_is_read_back_inside_a_tagged_type() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        enum Frame {
            Work { us: Sketch },
        }
        let frame = Frame::Work {
            us: Sketch::of([1, 7, 900]),
        };
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<Frame>(&text).unwrap(), frame);
    }

    #[test]
    fn an_empty_sketch_says_nothing() {
        let empty = Sketch::default();
        assert_eq!(
            (empty.quantile(0.5), empty.mean(), empty.count()),
            (None, None, 0)
        );
        assert!(empty.modes(2.0).is_empty());
    }

    #[test]
    fn two_heaps_of_values_are_two_modes() {
        let modes = Sketch::of([100, 102, 104, 1_000, 1_010]).modes(2.0);
        let counts: Vec<u64> = modes.iter().map(Sketch::count).collect();
        assert_eq!(counts, [3, 2]);
        assert!((980..=1_030).contains(&modes[1].quantile(0.5).unwrap()));
    }

    #[test]
    fn a_million_values_take_little_room() {
        let sketch = Sketch::of((1..1_000_000).map(|at| at * 37 % 1_000_003));
        let text = serde_json::to_string(&sketch).unwrap();
        assert!(text.len() < 5_000, "{} bytes", text.len());
    }
}
