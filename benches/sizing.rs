//! Prints how sizes of memory are found, by policy and kind of job: `cargo run -p fettle-sim --example sizing`.

use fettle_sim::sizing::{Kind, PolicyKind, measure};

/// Classes of jobs of each kind; each gives twenty jobs.
const CLASSES: usize = 100;
const SEED: u64 = 2024;

#[expect(clippy::print_stdout, reason = "a table for people")]
fn main() {
    println!(
        "| history | kind | policy | ≤ 2 retries | ≤ 20 % over | both | retries, mean | over, mean |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for history in [false, true] {
        for kind in Kind::ALL {
            for policy in PolicyKind::ALL {
                let score = measure(kind, policy, CLASSES, SEED, history);
                println!(
                    "| {} | {kind:?} | {policy:?} | {:.1} % | {:.1} % | {:.1} % | {:.2} | {:.0} % |",
                    if history { "ten jobs" } else { "none" },
                    score.few_retries * 100.0,
                    score.little_over * 100.0,
                    score.good * 100.0,
                    score.retries,
                    score.over * 100.0,
                );
            }
        }
    }
}
