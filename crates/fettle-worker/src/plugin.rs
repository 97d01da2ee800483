//! Plugins: extractors that run in a process of their own, within the worker's limits.
//!
//! Owns what a plugin is given, how its answers are checked, and what its crash or time-out means: the row that it had alone fails,
//! the process is started anew. It must not let a plugin end the worker, but for lack of memory, which the driver judges.

mod launch;
mod process;
mod reply;
mod request;

use std::path::PathBuf;
use std::time::Duration;

use fettle_confine::{AttemptGroup, WorkerGroup};
use fettle_model::{
    AttemptId, DocumentErrorClass, ErrorCategory, ExtractorRef, ProcessExit, Stage,
};
use fettle_plugin::{ArchiveError, ParameterError, PluginKind, PluginManifest};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::codes;
use crate::engine::Engine;
use crate::extract::{ExtractError, Extractor, RowInput, RowResult};
use crate::inputs::Declared;

use launch::Launch;
use process::{Broken, PluginProcess};
use reply::Vectors;
use request::Request;

/// Crashes in a row, each on a row alone, after which the plugin is held to be broken rather than the rows.
const CRASHES_IN_A_ROW_MAX: u32 = 16;

/// Where a plugin runs.
#[derive(Debug, Clone)]
pub(crate) struct PluginPlace {
    /// The unpacked plugin.
    pub(crate) folder: PathBuf,
    /// For temporary files; also its home.
    pub(crate) scratch_dir: PathBuf,
    /// How long a row may take.
    pub(crate) row_timeout: Option<Duration>,
    /// The attempt, by which its processes are found when they must be ended.
    pub(crate) attempt_id: AttemptId,
    /// Describes the attempt's group, whose counters tell an OOM kill.
    pub(crate) group_file: PathBuf,
    /// The worker's number.
    pub(crate) worker: u32,
}

/// Why a plugin could not be started.
#[derive(Debug, Error)]
pub(crate) enum PluginError {
    /// Its manifest is gone or not valid.
    #[error("its folder cannot be used")]
    Manifest(#[from] ArchiveError),
    /// The folder holds another plugin.
    #[error("its folder holds {found}")]
    Other {
        /// The id of that one.
        found: String,
    },
    /// It refuses its parameters.
    #[error("its parameters are refused")]
    Parameters(#[from] ParameterError),
    /// Its packages are not installed.
    #[error("its environment is missing; register the plugin again to install {}", .requirements.join(", "))]
    NoEnvironment {
        /// What it needs.
        requirements: Vec<String>,
    },
    /// Its program cannot be run.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Its process ended or hung before it was ready.
    #[error("its process was not ready: {message}")]
    NotReady {
        /// What was seen, with the end of what it said.
        message: String,
    },
    /// The kernel killed it for the worker's memory limit before it was ready.
    #[error("it needs more memory to start than its worker may use")]
    OutOfMemory,
    /// Its code does not load.
    #[error("its code does not load: {message}")]
    Code {
        /// The exception with its traceback.
        message: String,
    },
}

/// Starts the plugin that `wanted` names.
pub(crate) fn start(wanted: &ExtractorRef, place: PluginPlace) -> Result<Engine, PluginError> {
    let manifest = fettle_plugin::archive::read_manifest(&place.folder)?;
    if manifest.extractor_id() != wanted.id() {
        return Err(PluginError::Other {
            found: manifest.extractor_id(),
        });
    }
    let parameters = manifest.parameters.complete(&wanted.parameters)?;
    let declared = manifest.inputs.iter().map(|input| Declared {
        key: input.key.clone(),
        required: input.required,
        types: input.types.clone(),
    });
    let (declared, batch_rows) = (declared.collect(), manifest.batch_rows as usize);
    let extractor = PluginExtractor::new(manifest, parameters, place)?;
    Ok(Engine {
        extractor: Box::new(extractor),
        declared,
        batch_rows,
        component: wanted.id(),
    })
}

/// A plugin as an extractor.
struct PluginExtractor {
    kind: PluginKind,
    component: String,
    parameters: Map<String, Value>,
    vectors: Vectors,
    launch: Launch,
    process: Option<PluginProcess>,
    row_timeout: Option<Duration>,
    scratch_dir: PathBuf,
    group: Option<WorkerGroup>,
    crashes_in_a_row: u32,
}

impl PluginExtractor {
    fn new(
        manifest: PluginManifest,
        parameters: Map<String, Value>,
        place: PluginPlace,
    ) -> Result<Self, PluginError> {
        let launch = Launch::new(&manifest, &parameters, &place)?;
        let group = AttemptGroup::open(&place.group_file).ok().flatten();
        let group = group.map(|group| group.open_worker(place.worker, None));
        let process = launch.start().map_err(|error| match &group {
            // The group is the worker's own and new, so any kill in it was that of the plugin.
            Some(group) if group.read().oom_kills > Some(0) => PluginError::OutOfMemory,
            _ => error,
        })?;
        Ok(Self {
            kind: manifest.kind,
            component: manifest.extractor_id(),
            parameters,
            vectors: Vectors::new(&manifest),
            launch,
            process: Some(process),
            row_timeout: place.row_timeout,
            scratch_dir: place.scratch_dir,
            group,
            crashes_in_a_row: 0,
        })
    }

    /// Gives rows to the plugin in one exchange; one result for each, or how the exchange broke.
    fn exchange(&mut self, rows: &[RowInput]) -> Result<Vec<RowResult>, Failure> {
        let request = Request::new(self.kind, rows, &self.parameters, &self.scratch_dir)
            .map_err(Failure::Row)?;
        let timeout = self
            .row_timeout
            .map(|timeout| timeout.saturating_mul(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        if self.process.is_none() {
            self.process = Some(
                self.launch
                    .start()
                    .map_err(|error| Failure::Start(crate::extract::chain(&error)))?,
            );
        }
        let Some(process) = &mut self.process else {
            return Err(Failure::Start("it did not start".to_owned()));
        };
        match process.exchange(request.line(), timeout) {
            Ok(line) => Ok(reply::read(
                self.kind,
                &line,
                rows.len(),
                &self.vectors,
                &self.component,
            )),
            Err(broken) => {
                self.process = None;
                Err(Failure::Broken(broken))
            }
        }
    }

    fn run(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        let oom_kills = self.oom_kills();
        match self.exchange(rows) {
            Ok(results) => {
                self.crashes_in_a_row = 0;
                results
            }
            Err(failure) => {
                self.end_when_out_of_memory(oom_kills, &failure);
                self.after_failure(rows, failure)
            }
        }
    }

    /// Rows of a broken exchange are tried alone, and one that breaks it alone fails.
    fn after_failure(&mut self, rows: &[RowInput], failure: Failure) -> Vec<RowResult> {
        if rows.len() > 1 {
            return rows
                .iter()
                .flat_map(|row| self.run(std::slice::from_ref(row)))
                .collect();
        }
        self.crashes_in_a_row += u32::from(matches!(
            failure,
            Failure::Broken(Broken::Ended { .. }) | Failure::Start(_)
        ));
        if self.crashes_in_a_row >= CRASHES_IN_A_ROW_MAX {
            tracing::error!(
                "the plugin {} crashed on {CRASHES_IN_A_ROW_MAX} rows in a row: {}",
                self.component,
                failure.describe()
            );
            end_worker(codes::EXTRACTOR_FAILED);
        }
        vec![Err(failure.into_error(&self.component, self.row_timeout))]
    }

    fn oom_kills(&self) -> Option<u64> {
        self.group.as_ref()?.read().oom_kills
    }

    /// A plugin that the kernel killed for memory counts as the death of its worker: whether the row or the limit is to blame, the
    /// driver finds out, and the orchestrator can give more memory.
    fn end_when_out_of_memory(&self, before: Option<u64>, failure: &Failure) {
        if failure.is_kill() && self.oom_kills() > before {
            tracing::error!(
                "the kernel killed the plugin {} for the worker's memory limit",
                self.component
            );
            end_worker(codes::PLUGIN_OUT_OF_MEMORY);
        }
    }
}

impl Extractor for PluginExtractor {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        match self.kind {
            PluginKind::Python => self.run(rows),
            // One line in, one line out.
            PluginKind::Exec => rows
                .iter()
                .flat_map(|row| self.run(std::slice::from_ref(row)))
                .collect(),
        }
    }
}

/// How an exchange failed.
enum Failure {
    /// The row cannot be handed over.
    Row(String),
    /// The process does not start again.
    Start(String),
    /// The process ended or hung.
    Broken(Broken),
}

impl Failure {
    fn is_kill(&self) -> bool {
        matches!(
            self,
            Self::Broken(Broken::Ended {
                exit: ProcessExit {
                    signal: Some(9),
                    ..
                },
                ..
            })
        )
    }

    fn describe(&self) -> String {
        match self {
            Self::Row(message) => format!("the row cannot be handed to the plugin: {message}"),
            Self::Start(message) => format!("the plugin does not start again: {message}"),
            Self::Broken(Broken::Ended { exit, .. }) => format!(
                "the plugin's process ended with {} while it had this row",
                exit.describe()
            ),
            Self::Broken(Broken::TimedOut) => "the plugin did not answer in time".to_owned(),
            Self::Broken(Broken::TooLong) => format!(
                "the plugin's answer is longer than {} bytes",
                process::ANSWER_BYTES_MAX
            ),
        }
    }

    fn into_error(self, component: &str, timeout: Option<Duration>) -> ExtractError {
        let mut message = self.describe();
        let (class, category) = match &self {
            Self::Broken(Broken::TimedOut) => {
                message = format!(
                    "the row took longer than {} ms, the most that a row may take",
                    timeout.unwrap_or_default().as_millis()
                );
                (DocumentErrorClass::Transient, ErrorCategory::Runtime)
            }
            Self::Start(_) => (DocumentErrorClass::Transient, ErrorCategory::Dependency),
            Self::Row(_) => (DocumentErrorClass::Transient, ErrorCategory::Resource),
            Self::Broken(_) => (DocumentErrorClass::Permanent, ErrorCategory::Runtime),
        };
        let traceback = match self {
            Self::Broken(Broken::Ended { tail, .. }) => Some(tail).filter(|tail| !tail.is_empty()),
            _ => None,
        };
        ExtractError {
            category,
            class,
            stage: Stage::Processing,
            message,
            component: component.to_owned(),
            traceback,
        }
    }
}

/// Ends this worker with a code that its driver knows. All that was said to the driver has been written already.
#[expect(
    clippy::exit,
    reason = "an extractor has no other way to end its worker, and nothing of the worker needs to be put in order"
)]
fn end_worker(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

#[cfg(test)]
mod tests;
