//! Bars on a terminal: one a tier, and a line below that says what the batch waits for or how fast it is.

use std::collections::BTreeMap;

use fettle_wire::batch::BatchModel;
use fettle_wire::tier::TierTaskInfo;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Display, extractors, is_over, rows, waits_for};
use crate::text;

/// Cells of a bar: with its numbers a line fits in 80 columns.
const BAR_WIDTH: usize = 24;

pub(super) struct Bars {
    all: MultiProgress,
    tiers: BTreeMap<u32, ProgressBar>,
    last: ProgressBar,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::new();
        let last = all.add(line());
        Self {
            all,
            tiers: BTreeMap::new(),
            last,
        }
    }
}

impl Display for Bars {
    fn show(&mut self, batch: &BatchModel) {
        for tier in &batch.tier_tasks {
            let (all, last) = (&self.all, &self.last);
            let bar = self
                .tiers
                .entry(tier.tier_num)
                .or_insert_with(|| all.insert_before(last, line()));
            bar.set_message(tier_line(tier));
        }
        self.last.set_message(last_line(batch));
    }

    fn say(&mut self, line: &str) {
        self.last.set_message(line.to_owned());
    }

    fn close(&mut self) {
        for bar in self.tiers.values() {
            bar.abandon();
        }
        self.last.finish_and_clear();
    }
}

/// A line without a bar of indicatif's own: the message is drawn by us, so that it reads the same everywhere.
fn line() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

fn tier_line(tier: &TierTaskInfo) -> String {
    let (done, total) = rows(tier);
    let share = match total {
        Some(0) => 1.0,
        Some(total) => done as f64 / total as f64,
        None => 0.0,
    };
    let of = total.map_or_else(|| "?".to_owned(), text::count);
    let failed = match tier.audit.failed {
        0 => String::new(),
        failed => format!("  {} failed", text::count(failed)),
    };
    format!(
        "tier {}  {}  {}/{of}{failed}  {}  {}",
        tier.tier_num,
        text::bar(share, BAR_WIDTH),
        text::count(done),
        tier.status,
        text::short(&extractors(tier), 28),
    )
}

fn last_line(batch: &BatchModel) -> String {
    if let Some(reason) = waits_for(batch) {
        return format!("{}, waits for: {}", batch.status, text::short(&reason, 100));
    }
    let Some(progress) = batch.progress.as_ref().filter(|_| !is_over(&batch.status)) else {
        return batch.status.clone();
    };
    let mut line = batch.status.clone();
    if let Some(speed) = progress.items_per_second {
        line.push_str(&format!("  {speed:.0} rows/s"));
    }
    if let Some(eta) = progress.eta_seconds {
        line.push_str(&format!("  about {} left", text::duration(eta)));
    }
    line
}
