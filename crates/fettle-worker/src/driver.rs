//! The driver process: hands the rows of one attempt to its workers, watches them, and says how it went.
//!
//! Owns the life of the process and its last word. It must not extract anything itself, and it must not decide about retries of
//! the job; the orchestrator does.

mod beat;
mod body;
mod broker;
mod crew;
mod curve;
mod death;
pub(crate) mod devices;
mod distant_log;
mod finale;
mod glimpse;
mod host;
mod host_frame;
mod outbox;
mod prepare;
mod remains;
mod run;
mod sources;
mod spread;
mod stand;
mod usage;
mod worker_process;

use std::path::PathBuf;

use fettle_confine::{ALREADY_RUNNING_EXIT_CODE, AttemptDir, DriverSeat, DriverSeatError};
use fettle_model::AttemptExit;

use crate::codes;
use crate::extract::chain;

pub use broker::BrokerCommand;
use finale::Ending;
pub use host::{HostArgs, host_main};

/// What a driver is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverArgs {
    /// The attempt's `spec.json`; everything else of the attempt lies beside it.
    pub spec: PathBuf,
    /// The program that has the subcommand `worker`; this very program when none is given.
    pub worker_program: Option<PathBuf>,
    /// Whether the last word goes to standard output too, where the attempt's folder cannot be read from outside.
    pub last_word_to_stdout: bool,
    /// How workers on other nodes are reached; without it all are beside the driver.
    pub broker: Option<BrokerCommand>,
}

/// Threads for reports and frames; the work is done by the workers.
const RUNTIME_THREADS: usize = 2;

/// Runs a driver to its end; its exit code is one of [`crate::codes`], or 75 when another driver drives the attempt.
///
/// It must be called from the main thread, which starts the workers: they end when the thread ends that started them.
#[must_use]
pub fn driver_main(args: &DriverArgs) -> u8 {
    let dir = AttemptDir::of_spec(&args.spec);
    let code = run_seated(args, &dir);
    if args.last_word_to_stdout && i32::from(code) != ALREADY_RUNNING_EXIT_CODE {
        finale::say(&dir);
    }
    code
}

fn run_seated(args: &DriverArgs, dir: &AttemptDir) -> u8 {
    // Kept to the end: it holds the lock.
    let seat = match DriverSeat::take(dir) {
        Ok(seat) => seat,
        Err(error @ DriverSeatError::AlreadyRunning(_)) => {
            tracing::warn!(error = %chain(&error), "nothing to do");
            return u8::try_from(ALREADY_RUNNING_EXIT_CODE).unwrap_or(codes::DRIVER_FAILED);
        }
        Err(error) => {
            let ending = Ending::without_work(
                AttemptExit::DriverFailed,
                format!("the driver cannot take its place: {}", chain(&error)),
            );
            return finale::write_only(dir, ending);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let ending = Ending::without_work(
                AttemptExit::DriverFailed,
                format!("the driver's threads cannot be started: {error}"),
            );
            return finale::write_only(dir, ending);
        }
    };
    let code = runtime.block_on(run::drive(args, dir, seat.group.clone()));
    runtime.shutdown_background();
    drop(seat);
    code
}
