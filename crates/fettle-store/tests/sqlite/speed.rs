//! How fast rows are recorded. Not a pass or fail: run with `--run-ignored all --no-capture` and read.

use std::sync::Arc;
use std::time::Instant;

use fettle_model::RowOutcome;
use fettle_ports::Store;

use crate::fixture::{Fixture, report};

const ROWS: u32 = 20_000;
const ROWS_PER_REPORT: u32 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rows_per_second_by_number_of_reporters() {
    for reporters in [1, 4, 16, 64] {
        let fixture = Fixture::new();
        fixture.submitted(1, 1).await;
        let store = Arc::new(fixture.store);
        let began = Instant::now();
        let tasks: Vec<_> = (0..reporters)
            .map(|reporter| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let firsts = (0..ROWS).step_by(ROWS_PER_REPORT as usize);
                    for first in firsts.skip(reporter).step_by(reporters) {
                        let end = (first + ROWS_PER_REPORT).min(ROWS);
                        let rows: Vec<_> = (first..end)
                            .map(|row| (row, RowOutcome::Processed, 1))
                            .collect();
                        store.record_rows(report(1, 0, 1, &rows)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let rate = f64::from(ROWS) / began.elapsed().as_secs_f64();
        println!("{reporters} reporters: {rate:.0} rows/s");
    }
}
