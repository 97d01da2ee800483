//! The processing stage: the extractor on a thread of its own, fed in small batches.
//!
//! Owns what happens when an extractor panics: the rows of the batch are tried one by one, and only those that panic alone fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use fettle_model::{ErrorCategory, Stage};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::batch::BatchSize;
use super::context::{Context, Extracted, Loaded};
use crate::engine::Engine;
use crate::extract::{ExtractError, Extractor, Part, RowInput, RowResult};

/// Extracts until no loaded rows come any more.
pub(super) fn run(
    context: &Context,
    mut engine: Engine,
    mut loaded: mpsc::Receiver<Loaded>,
    to_write: &mpsc::Sender<Extracted>,
    handle: &Handle,
) {
    let mut size = BatchSize::new(engine.batch_rows);
    let mut next = None;
    while let Some(first) = next.take().or_else(|| loaded.blocking_recv()) {
        if context.is_leaving() {
            // It waited in line, and is for others.
            continue;
        }
        let mut batch = vec![first];
        while batch.len() < size.rows() {
            match loaded.try_recv() {
                Ok(more) => batch.push(more),
                Err(_) => break,
            }
        }
        let numbers: Vec<_> = batch.iter().map(|loaded| loaded.row.row).collect();
        context.entered(numbers.clone(), Stage::Processing);
        let mut inputs = Vec::with_capacity(batch.len());
        let mut rows = Vec::with_capacity(batch.len());
        for Loaded {
            row,
            input,
            facts,
            held,
        } in batch
        {
            inputs.push(input);
            rows.push((row, facts, held));
        }
        let results = extract(
            context,
            &mut engine,
            &inputs,
            &mut size,
            rows.iter().map(|(_, facts, _)| facts.size_bytes).sum(),
        );
        drop(inputs);
        context.entered(numbers, Stage::Writing);
        for ((row, facts, held), result) in rows.into_iter().zip(results) {
            // The row's share goes back before room for its result is asked for.
            drop(held);
            let held = handle.block_on(context.extracted_bytes.hold(size_of(&result)));
            if to_write
                .blocking_send(Extracted {
                    row,
                    facts,
                    result: result.map(Some),
                    held,
                })
                .is_err()
            {
                return;
            }
        }
    }
}

fn extract(
    context: &Context,
    engine: &mut Engine,
    inputs: &[RowInput],
    size: &mut BatchSize,
    bytes: u64,
) -> Vec<RowResult> {
    let meter = context.meters.of(Stage::Processing);
    let _busy = meter.enter();
    let began = Instant::now();
    let results = extract_guarded(engine.extractor.as_mut(), &engine.component, inputs);
    let took = began.elapsed();
    size.learn(inputs.len(), took);
    meter.count(inputs.len() as u64, bytes, took);
    results
}

/// One result for each row, whatever the extractor does.
fn extract_guarded(
    extractor: &mut dyn Extractor,
    component: &str,
    rows: &[RowInput],
) -> Vec<RowResult> {
    let results = catch_unwind(AssertUnwindSafe(|| extractor.extract(rows)));
    match results {
        Ok(results) if results.len() == rows.len() => results,
        _ if rows.len() > 1 => {
            let alone = rows
                .iter()
                .flat_map(|row| extract_guarded(extractor, component, std::slice::from_ref(row)));
            alone.collect()
        }
        Ok(_) => vec![Err(broken(
            component,
            "the extractor gave no result for the row",
        ))],
        Err(_) => vec![Err(broken(
            component,
            "the extractor panicked on the row; the worker's log has the place",
        ))],
    }
}

fn broken(component: &str, message: &str) -> ExtractError {
    ExtractError::permanent(ErrorCategory::Runtime, component, message)
}

/// What a result takes in memory, in bytes, roughly.
fn size_of(result: &RowResult) -> u64 {
    let Ok(parts) = result else { return 0 };
    parts.iter().map(part_size).sum()
}

fn part_size(part: &Part) -> u64 {
    let texts: usize = part
        .fields
        .values()
        .filter_map(|value| value.as_str())
        .map(str::len)
        .sum();
    let floats: usize = part.vectors.iter().map(|vector| vector.values.len()).sum();
    let artifacts: usize = part
        .artifacts
        .iter()
        .map(|artifact| artifact.bytes.len())
        .sum();
    (texts + 4 * floats + artifacts + 512) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Moody;

    impl Extractor for Moody {
        fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
            assert!(rows.iter().all(|row| row.source_id != "bad"), "as it does");
            rows.iter()
                .filter(|row| row.source_id != "lost")
                .map(|_| Ok(vec![]))
                .collect()
        }
    }

    #[test]
    fn a_panic_or_a_lost_row_fails_that_row_alone() {
        let row = |source_id: &str| RowInput {
            inputs: std::collections::BTreeMap::new(),
            source_id: source_id.into(),
        };
        let results = extract_guarded(
            &mut Moody,
            "moody_v1",
            &[row("a"), row("bad"), row("b"), row("lost")],
        );
        let is_ok: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(is_ok, [true, false, true, false]);
        assert!(
            results[1]
                .as_ref()
                .unwrap_err()
                .message
                .contains("panicked")
        );
    }
}
