//! The worker process: takes rows from its driver, loads, extracts and writes them, and says at each step which rows it has.
//!
//! Owns the life of the process. It must not decide which rows to do or what a failure of the process means; the driver does.

mod batch;
mod context;
mod load;
mod output;
mod process;
mod write;

use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fettle_confine::{AttemptDir, WorkerSeat};
use fettle_model::{AttemptSpec, RowNumber};
use tokio::sync::mpsc;

use crate::attempt_files::{self, FilesError};
use crate::codes;
use crate::driver::devices;
use crate::engine::{self, Engine};
use crate::extract::chain;
use crate::frame::{FatalCause, FromWorker, ToWorker};

use context::Context;
use output::Output;

/// What a worker is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerArgs {
    /// The attempt's folder.
    pub attempt_dir: PathBuf,
    /// This worker's number within the attempt.
    pub worker: u32,
    /// Its place: cgroup, limit, driver.
    pub seat: WorkerSeat,
}

/// Threads for loading and writing; extraction has its own.
const RUNTIME_THREADS: usize = 2;
/// Rows between loading and processing; as many as an extractor takes at once, so that a batch is ready when it asks.
const LOADED_ROWS_MAX: usize = 16;
/// Rows between processing and writing; beyond this a slow `serve` holds the extractor up.
const EXTRACTED_ROWS_MAX: usize = 64;
/// How often the driver hears how the time was spent.
const TIMINGS_EVERY: Duration = Duration::from_millis(500);

/// Runs a worker to its end; its exit code is one of [`crate::codes`].
///
/// It must be called from the main thread before other threads are started: the first act is to take the worker's place.
#[must_use]
pub fn worker_main(args: &WorkerArgs) -> u8 {
    if let Err(error) = args.seat.take() {
        tracing::error!(error = %chain(&error), "the worker cannot be confined");
        return codes::NO_SEAT;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the worker's threads cannot be started");
            return codes::NO_SEAT;
        }
    };
    let code = runtime.block_on(run(args));
    // What still runs belongs to rows that are given up with this process.
    runtime.shutdown_background();
    code
}

async fn run(args: &WorkerArgs) -> u8 {
    let dir = AttemptDir::new(&args.attempt_dir);
    let (ending, mut ended) = mpsc::channel(1);
    let output = Arc::new(Output::new(std::io::stdout(), ending.clone()));
    let commands = read_commands(ending);
    let spec = match attempt_files::read_spec(&dir) {
        Ok(spec) => Arc::new(spec),
        Err(error) => return output.fatal(FatalCause::Environment, &chain(&error)),
    };
    let work = async {
        let started = start(args, &dir, &spec, Arc::clone(&output)).await;
        match started {
            Ok((context, engine)) => pipeline(Arc::new(context), engine, commands).await,
            Err(code) => code,
        }
    };
    tokio::select! {
        code = work => code,
        Some(code) = ended.recv() => code,
    }
}

/// Everything that must be there before the first row; reports what is not.
async fn start(
    args: &WorkerArgs,
    dir: &AttemptDir,
    spec: &Arc<AttemptSpec>,
    output: Arc<Output>,
) -> Result<(Context, Engine), u8> {
    let context = Context::open(dir, Arc::clone(spec), Arc::clone(&output)).await;
    let mut context = context
        .map_err(|error: FilesError| output.fatal(FatalCause::Environment, &chain(&error)))?;
    let (spec, dir, worker) = (Arc::clone(spec), dir.clone(), args.worker);
    let engine = tokio::task::spawn_blocking(move || engine::start(&spec, &dir, worker)).await;
    let engine = match engine {
        Ok(Ok(engine)) => engine,
        // A death like one by the kernel: the driver reads the counters, and the orchestrator can give more memory.
        Ok(Err(error)) if error.is_out_of_memory() => {
            tracing::error!("{}", chain(&error));
            return Err(codes::PLUGIN_OUT_OF_MEMORY);
        }
        Ok(Err(error)) => return Err(output.fatal(FatalCause::Extractor, &chain(&error))),
        Err(panic) => {
            return Err(output.fatal(
                FatalCause::Extractor,
                &format!("the extractor panicked while it was loaded: {panic}"),
            ));
        }
    };
    context
        .plan(&engine.declared)
        .map_err(|error| output.fatal(FatalCause::Extractor, &error.to_string()))?;
    output.send(&FromWorker::Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gpus: devices::visible(),
    });
    Ok((context, engine))
}

/// Runs the three stages until the driver says that there is no more and all is written.
async fn pipeline(
    context: Arc<Context>,
    engine: Engine,
    mut commands: mpsc::UnboundedReceiver<ToWorker>,
) -> u8 {
    let (to_load, rows) = mpsc::unbounded_channel::<Vec<RowNumber>>();
    let (to_process, loaded) = mpsc::channel(LOADED_ROWS_MAX);
    let (to_write, extracted) = mpsc::channel(EXTRACTED_ROWS_MAX);
    let handle = tokio::runtime::Handle::current();
    let processing = {
        let (context, to_write) = (Arc::clone(&context), to_write.clone());
        thread::Builder::new()
            .name("fettle-extract".to_owned())
            .spawn(move || process::run(&context, engine, loaded, &to_write, &handle))
    };
    if let Err(error) = processing {
        return context.output.fatal(
            FatalCause::Environment,
            &format!("no thread for the extractor: {error}"),
        );
    }
    let loading = tokio::spawn(load::run(Arc::clone(&context), rows, to_process, to_write));
    let mut writing = tokio::spawn(write::run(Arc::clone(&context), extracted));
    let mut to_load = Some(to_load);
    let mut timings = tokio::time::interval(TIMINGS_EVERY);
    let code = loop {
        tokio::select! {
            written = &mut writing => break written.unwrap_or(codes::ENVIRONMENT_FAILED),
            command = commands.recv(), if to_load.is_some() => match command {
                Some(ToWorker::Run { rows }) => {
                    // The receiver lives as long as the writing, which this loop waits for.
                    let _ = to_load.as_ref().map(|to_load| to_load.send(rows));
                }
                Some(ToWorker::Leave) => {
                    context.leave();
                    to_load = None;
                }
                Some(ToWorker::End) | None => to_load = None,
            },
            _ = timings.tick() => context.send_timings(),
        }
    };
    loading.abort();
    context.send_timings();
    code
}

/// Reads the driver's frames on a thread of its own; the end of the input ends the worker, for its driver is gone.
fn read_commands(ending: mpsc::Sender<u8>) -> mpsc::UnboundedReceiver<ToWorker> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reading = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(command) => {
                    if sender.send(command).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the driver sent a frame that cannot be read")
                }
            }
        }
        tracing::info!("the driver has closed the worker's input");
        let _ = ending.blocking_send(codes::DRIVER_GONE);
    };
    if let Err(error) = thread::Builder::new()
        .name("fettle-stdin".to_owned())
        .spawn(reading)
    {
        tracing::error!(%error, "no thread for the driver's frames");
    }
    receiver
}

#[cfg(test)]
mod tests;
