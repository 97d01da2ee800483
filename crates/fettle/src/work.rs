//! The commands that are not `serve` and speak to no server: `doctor`, and the processes of an attempt.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use fettle_cli::{Code, DoctorArgs, LogFormat};
use fettle_confine::{Check, CheckLevel, DoctorReport, WorkerSeat};
use fettle_worker::{BrokerCommand, DriverArgs, HostArgs, WorkerArgs};

use crate::logging;

/// A line on standard output. Nobody is left to tell when it is closed.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says what this machine offers.
pub(crate) fn doctor(args: &DoctorArgs, json: bool) -> ExitCode {
    let here = PathBuf::from(".");
    let mut report = fettle_confine::doctor(args.data_dir.as_ref().unwrap_or(&here));
    report.checks.push(check_model(args.model_dir.as_deref()));
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => say(&text),
            Err(error) => complain(&format!("error: the report cannot be printed: {error}")),
        }
    } else {
        print(&report);
    }
    match report.worst() {
        CheckLevel::Ok | CheckLevel::Warn => ExitCode::SUCCESS,
        CheckLevel::Fail => ExitCode::from(Code::Local.number()),
    }
}

fn check_model(dir: Option<&Path>) -> Check {
    let Some(dir) = dir else {
        let found = "no model folder is given, so texts get lexical vectors";
        let advice = "give --model-dir, or FETTLE_MODEL_DIR, a folder with config.json, tokenizer.json and model.safetensors";
        return Check::advise("model", CheckLevel::Warn, found, advice);
    };
    let missing: Vec<&str> = ["config.json", "tokenizer.json", "model.safetensors"]
        .into_iter()
        .filter(|name| !dir.join(name).is_file())
        .collect();
    if missing.is_empty() {
        return Check::ok("model", dir.display().to_string());
    }
    let found = format!("{} lacks {}", dir.display(), missing.join(", "));
    Check::advise(
        "model",
        CheckLevel::Fail,
        found,
        "get the model's safetensors files into that folder",
    )
}

fn print(report: &DoctorReport) {
    for check in &report.checks {
        let level = match check.level {
            CheckLevel::Ok => "ok  ",
            CheckLevel::Warn => "warn",
            CheckLevel::Fail => "FAIL",
        };
        say(&format!("{level}  {:<18} {}", check.name, check.found));
        if let Some(advice) = &check.advice {
            say(&format!("      {:<18} -> {advice}", ""));
        }
    }
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct JobArgs {
    #[arg(long)]
    spec: PathBuf,
    #[arg(long)]
    last_word_to_stdout: bool,
    /// Python with Ray, and the folder of the package `engine`.
    #[arg(long, num_args = 2, value_names = ["PYTHON", "PACKAGE"], requires = "workers_max")]
    broker: Vec<PathBuf>,
    /// The most workers, on all nodes.
    #[arg(long, requires = "broker")]
    workers_max: Option<u32>,
}

/// Drives an attempt.
pub(crate) fn driver(arguments: &[OsString]) -> ExitCode {
    logging::start(LogFormat::Text);
    match JobArgs::try_parse_from(arguments) {
        Ok(JobArgs {
            spec,
            last_word_to_stdout,
            broker,
            workers_max,
        }) => ExitCode::from(fettle_worker::driver_main(&DriverArgs {
            spec,
            worker_program: None,
            last_word_to_stdout,
            broker: broker_command(broker, workers_max),
        })),
        Err(error) => usage(&error),
    }
}

fn broker_command(broker: Vec<PathBuf>, workers_max: Option<u32>) -> Option<BrokerCommand> {
    let [python, package] = <[PathBuf; 2]>::try_from(broker).ok()?;
    Some(BrokerCommand {
        python,
        package,
        workers_max: workers_max?,
    })
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct HostCli {
    #[arg(long)]
    spec: PathBuf,
    #[arg(long)]
    worker: u32,
}

/// Holds a place of an attempt.
pub(crate) fn host(arguments: &[OsString]) -> ExitCode {
    logging::start(LogFormat::Text);
    match HostCli::try_parse_from(arguments) {
        Ok(HostCli { spec, worker }) => ExitCode::from(fettle_worker::host_main(&HostArgs {
            spec,
            worker,
            worker_program: None,
        })),
        Err(error) => usage(&error),
    }
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct WorkerCli {
    #[arg(long)]
    attempt_dir: PathBuf,
    #[arg(long)]
    worker: u32,
    #[arg(long)]
    cgroup: Option<PathBuf>,
    #[arg(long)]
    memory_limit_bytes: Option<u64>,
    #[arg(long, default_value_t = 0)]
    parent_pid: u32,
}

/// Works for an attempt.
pub(crate) fn worker(arguments: &[OsString]) -> ExitCode {
    logging::start(LogFormat::Text);
    let cli = match WorkerCli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let WorkerCli {
        attempt_dir,
        worker,
        cgroup,
        memory_limit_bytes,
        parent_pid,
    } = cli;
    let seat = WorkerSeat {
        cgroup,
        memory_limit_bytes,
        parent_pid,
    };
    ExitCode::from(fettle_worker::worker_main(&WorkerArgs {
        attempt_dir,
        worker,
        seat,
    }))
}

fn usage(error: &clap::Error) -> ExitCode {
    complain(&format!(
        "error: this command is started by `fettle serve`: {error}"
    ));
    ExitCode::from(Code::Usage.number())
}
