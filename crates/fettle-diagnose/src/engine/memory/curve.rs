//! The shape of a worker's memory curve.
//!
//! Owns the difference between a flat, a climbing and a jumping curve. It must not know what the worker was busy with.

use fettle_model::evidence::MemorySample;
use fettle_model::{MemoryEvidence, UnixMillis};

/// How memory went up to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CurveShape {
    /// Too few readings to tell.
    TooShort,
    /// It had stopped growing.
    Flat,
    /// It grew little by little.
    Climbing,
    /// Most of the rise came at once.
    Jump,
}

/// Fewer readings than this have no shape.
const SAMPLES_MIN: usize = 5;
/// A rise below this share of the peak is no rise: allocators breathe by a few percent.
const RISE_SHARE_MIN: f64 = 0.05;
/// One step with more than this share of the whole rise is a jump.
const JUMP_SHARE: f64 = 0.5;

/// What a process used once it had started: its second reading, for the first catches it on its way up.
pub(crate) fn settled_bytes(memory: &MemoryEvidence) -> u64 {
    let settled = memory.curve.get(1).or(memory.curve.first());
    settled.map_or(0, |sample| sample.bytes)
}

/// The shape of the curve with the end of the worker as its last reading: the kernel's peak catches what lies between two samples.
pub(crate) fn shape(memory: &MemoryEvidence, ended_at: UnixMillis) -> CurveShape {
    let mut samples = memory.curve.clone();
    let highest = samples.iter().map(|sample| sample.bytes).max().unwrap_or(0);
    if let Some(peak) = memory.peak_bytes.filter(|peak| *peak > highest) {
        samples.push(MemorySample {
            at: ended_at,
            bytes: peak,
        });
    }
    if samples.len() < SAMPLES_MIN {
        return CurveShape::TooShort;
    }
    let peak = samples.iter().map(|s| s.bytes).max().unwrap_or(0) as f64;
    let rise_of = |part: &[MemorySample]| {
        let last = part.last().map_or(0, |sample| sample.bytes);
        let first = part.first().map_or(0, |sample| sample.bytes);
        last.saturating_sub(first) as f64
    };
    // The start of a process is a jump of its own; what tells is the time after it.
    let settled = &samples[1..];
    let last_third = &samples[samples.len() - samples.len().div_ceil(3) - 1..];
    if rise_of(last_third) < peak * RISE_SHARE_MIN {
        return CurveShape::Flat;
    }
    let steps = settled
        .windows(2)
        .map(|pair| pair[1].bytes.saturating_sub(pair[0].bytes));
    let biggest = steps.max().unwrap_or(0) as f64;
    if biggest > rise_of(settled) * JUMP_SHARE {
        CurveShape::Jump
    } else {
        CurveShape::Climbing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_model::evidence::MemoryEnforcement;

    fn check(readings: &[u64], peak: u64, expected: CurveShape) {
        let samples = readings.iter().zip(0..).map(|(bytes, at)| MemorySample {
            at: UnixMillis(at),
            bytes: *bytes,
        });
        let memory = MemoryEvidence {
            enforcement: MemoryEnforcement::CgroupV2,
            limit_bytes: Some(peak),
            peak_bytes: Some(peak),
            oom_kills: Some(1),
            limit_hits: None,
            curve: samples.collect(),
        };
        assert_eq!(shape(&memory, UnixMillis(99)), expected, "{readings:?}");
    }

    #[test]
    fn curves_are_told_apart() {
        check(&[10, 20], 100, CurveShape::TooShort);
        check(&[10, 90, 91, 91, 92, 92, 92], 92, CurveShape::Flat);
        check(
            &[10, 20, 30, 40, 50, 60, 70, 80, 90],
            100,
            CurveShape::Climbing,
        );
        check(&[10, 20, 21, 20, 21, 20], 100, CurveShape::Jump);
    }
}
