//! The extractor of an attempt, built in or a plugin, with what it declares of its inputs.
//!
//! Owns the choice between the two. It must not know how either works.

use std::path::PathBuf;
use std::time::Duration;

use fettle_confine::AttemptDir;
use fettle_model::{AttemptSpec, ExtractorSource, catalogue};
use thiserror::Error;

use crate::extract::{self, BuildError, Extractor, ExtractorContext};
use crate::inputs::Declared;
use crate::plugin::{self, PluginError, PluginPlace};

/// Rows that a built-in extractor is given at once at most; sentence models gain little beyond.
const BUILTIN_BATCH_ROWS: usize = 16;

/// An extractor, ready.
pub(crate) struct Engine {
    /// The extractor.
    pub(crate) extractor: Box<dyn Extractor>,
    /// Its inputs.
    pub(crate) declared: Vec<Declared>,
    /// Rows that it is given at once at most.
    pub(crate) batch_rows: usize,
    /// Its id.
    pub(crate) component: String,
}

/// Why no extractor could be started.
#[derive(Debug, Error)]
pub(crate) enum EngineError {
    /// Built in.
    #[error("the extractor {id} cannot be started")]
    Builtin {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// A plugin.
    #[error("the plugin {id} cannot be started")]
    Plugin {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: PluginError,
    },
    /// No folder for temporary files.
    #[error("no folder for temporary files at {path}")]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl EngineError {
    /// Whether the worker's memory limit is to blame, so that more memory would help.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(
            self,
            Self::Plugin {
                source: PluginError::OutOfMemory,
                ..
            }
        )
    }
}

/// Starts the extractor of `spec` for a worker.
pub(crate) fn start(
    spec: &AttemptSpec,
    dir: &AttemptDir,
    worker: u32,
) -> Result<Engine, EngineError> {
    let id = spec.extractor.id();
    let scratch_dir = dir.path().join(format!("scratch-{worker}"));
    fresh_folder(&scratch_dir).map_err(|source| EngineError::Scratch {
        path: scratch_dir.clone(),
        source,
    })?;
    match &spec.extractor_source {
        ExtractorSource::Builtin => {
            let context = ExtractorContext {
                model_dir: spec.model_dir.as_ref().map(PathBuf::from),
                scratch_dir,
            };
            builtin(spec, &context).map_err(|source| EngineError::Builtin { id, source })
        }
        ExtractorSource::Plugin(source) => {
            let place = PluginPlace {
                folder: PathBuf::from(&source.directory),
                scratch_dir,
                row_timeout: spec.row_timeout_ms.map(Duration::from_millis),
                attempt_id: spec.attempt_id.clone(),
                group_file: dir.group(),
                worker,
            };
            plugin::start(&spec.extractor, place)
                .map_err(|source| EngineError::Plugin { id, source })
        }
    }
}

fn builtin(spec: &AttemptSpec, context: &ExtractorContext) -> Result<Engine, BuildError> {
    let wanted = &spec.extractor;
    let info = catalogue::find(&wanted.name, &wanted.version)?;
    let extractor = extract::build(&wanted.name, &wanted.version, &wanted.parameters, context)?;
    let declared = info.inputs.iter().map(|input| Declared {
        key: input.key.to_owned(),
        required: input.required,
        types: input.types.iter().map(|kind| (*kind).to_owned()).collect(),
    });
    Ok(Engine {
        extractor,
        declared: declared.collect(),
        batch_rows: BUILTIN_BATCH_ROWS,
        component: wanted.id(),
    })
}

/// An empty folder: what an earlier worker of the same number left is of no use.
fn fresh_folder(path: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(path)
}
