//! Jobs whose memory is known.

use crate::random::Random;

const MIB: f64 = 1_048_576.0;

/// Kinds of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every worker needs the same.
    Steady,
    /// A worker needs more with each row.
    Leak,
    /// A row needs by its size, and one row of each job is large.
    BigRow,
    /// Rows are of two kinds that nothing tells apart before they run.
    Bimodal,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Steady, Self::Leak, Self::BigRow, Self::Bimodal];
}

/// Jobs of one extractor with one set of parameters.
pub(super) struct Class {
    kind: Kind,
    base: f64,
    leak: f64,
    bytes_for_byte: f64,
    large: f64,
}

/// One job.
pub(super) struct Job {
    /// What a worker has before its first row, in bytes.
    pub(super) base_bytes: u64,
    /// What it keeps of each row, in bytes.
    pub(super) leak_bytes: u64,
    /// Its rows.
    pub(super) rows: Vec<Row>,
}

/// One row.
pub(super) struct Row {
    /// Its size, in bytes.
    pub(super) bytes: u64,
    /// What a worker needs for it beside its base, in bytes.
    pub(super) need_bytes: u64,
}

impl Class {
    pub(super) fn new(kind: Kind, random: &mut Random) -> Self {
        let base = match kind {
            Kind::Steady => between(random, 200.0, 6_000.0),
            _ => between(random, 200.0, 500.0),
        };
        Self {
            kind,
            base: base * MIB,
            leak: between(random, 2.0, 20.0) * MIB,
            bytes_for_byte: between(random, 5.0, 30.0),
            large: between(random, 1_000.0, 4_000.0) * MIB,
        }
    }

    pub(super) fn job(&self, random: &mut Random) -> Job {
        let rows = match self.kind {
            Kind::Leak => 20 + random.below(180),
            _ => 40,
        };
        let big = random.below(rows);
        let leak = if self.kind == Kind::Leak {
            self.leak
        } else {
            0.0
        };
        Job {
            base_bytes: (self.base * about_one(random, 0.03)) as u64,
            leak_bytes: (leak * about_one(random, 0.02)) as u64,
            rows: (0..rows).map(|at| self.row(at == big, random)).collect(),
        }
    }

    fn row(&self, is_big: bool, random: &mut Random) -> Row {
        let small = between(random, 0.1, 1.0) * MIB;
        let (bytes, need) = match self.kind {
            Kind::Steady | Kind::Leak => (small, small),
            Kind::BigRow if is_big => {
                // Pareto with index 1: half of them above 20 MiB, one in ten above 100 MiB.
                let bytes = (10.0 * MIB / between(random, 0.0, 1.0).max(1e-9)).min(300.0 * MIB);
                (bytes, bytes * self.bytes_for_byte * about_one(random, 0.03))
            }
            Kind::BigRow => (small, small * self.bytes_for_byte),
            Kind::Bimodal if random.chance(3) => (small, self.large * about_one(random, 0.04)),
            Kind::Bimodal => (small, 20.0 * MIB),
        };
        Row {
            bytes: bytes as u64,
            need_bytes: need as u64,
        }
    }
}

fn between(random: &mut Random, from: f64, to: f64) -> f64 {
    from + (to - from) * (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Normal around one (Irwin and Hall: the sum of twelve uniform numbers).
fn about_one(random: &mut Random, deviation: f64) -> f64 {
    let sum: f64 = (0..12).map(|_| between(random, 0.0, 1.0)).sum();
    1.0 + (sum - 6.0) * deviation
}
