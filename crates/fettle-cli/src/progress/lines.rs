//! Lines where there is no terminal: one when something changes, and one every now and then.

use std::time::{Duration, Instant};

use fettle_wire::batch::BatchModel;

use super::{Display, extractors, rows, waits_for};
use crate::output::Printer;
use crate::text;

/// Time between two lines when only counts change: a log of an hour stays readable.
const QUIET_MAX: Duration = Duration::from_secs(10);

pub(super) struct Lines {
    printer: Printer,
    state: String,
    last: Instant,
}

impl Lines {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            state: String::new(),
            last: Instant::now(),
        }
    }
}

impl Display for Lines {
    fn show(&mut self, batch: &BatchModel) {
        let state = state_line(batch);
        if state != self.state || self.last.elapsed() >= QUIET_MAX {
            self.printer.note(format_args!("{state}{}", counts(batch)));
            self.state = state;
            self.last = Instant::now();
        }
    }

    fn say(&mut self, line: &str) {
        self.printer.note(line);
    }

    fn close(&mut self) {}
}

/// What is worth a line when it changes.
fn state_line(batch: &BatchModel) -> String {
    let tier = batch
        .tier_tasks
        .iter()
        .find(|tier| tier.status == "IN_PROGRESS");
    let mut line = format!("batch {}", batch.status);
    if let Some(tier) = tier {
        line.push_str(&format!(": tier {} ({})", tier.tier_num, extractors(tier)));
    }
    if let Some(reason) = waits_for(batch) {
        line.push_str(&format!(", waits for: {reason}"));
    }
    line
}

fn counts(batch: &BatchModel) -> String {
    let Some(tier) = batch
        .tier_tasks
        .iter()
        .find(|tier| tier.status == "IN_PROGRESS")
    else {
        return String::new();
    };
    match rows(tier) {
        (_, None) => String::new(),
        (done, Some(total)) => format!(", {} of {} rows", text::count(done), text::count(total)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn batch(status: &str, extra: serde_json::Value) -> BatchModel {
        let mut body = json!({
            "batch_id": "btch_1", "namespace_id": "ns_1", "bucket_id": "bkt_1", "type": "BUCKET",
            "status": status, "health": "healthy", "object_count": 1, "collection_ids": [],
            "dedup_strategy": "skip", "effective_dedup_strategy": null, "metadata": {},
            "failed_objects": [], "failed_object_count": 0, "partial_objects": [], "dag_tiers": [], "total_tiers": 1,
            "tier_tasks": [], "documents_resolvable": false, "retry_count": 0, "max_retries": 0,
            "max_node_death_resubmits": 0, "max_deploy_resubmits": 0, "node_death_resubmit_count": 0, "deploy_resubmit_count": 0,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        });
        if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
            body.extend(extra.clone());
        }
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_waiting_batch_says_what_it_waits_for() {
        let waiting = batch(
            "QUEUED",
            json!({"queue_context": {"reason": "2 of 2 cores are in use"}}),
        );
        assert_eq!(
            state_line(&waiting),
            "batch QUEUED, waits for: 2 of 2 cores are in use"
        );
    }

    #[test]
    fn a_batch_that_has_ended_waits_for_nothing() {
        let ended = batch("COMPLETED", json!({"queue_context": {"reason": "old"}}));
        assert_eq!(state_line(&ended), "batch COMPLETED");
    }
}
