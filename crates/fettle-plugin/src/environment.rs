//! The Python environment of a plugin: a virtual environment beside its code, made once at registration.
//!
//! Owns the calls of `venv` and `pip`. They download and run code of packages, so registering a plugin is an operator's right.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Folder of the environment within the plugin's folder.
pub const ENVIRONMENT_FOLDER: &str = ".venv";
/// Time for making an environment; large packages take minutes to download.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// How often a running step is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Output of a failed step that is shown, in bytes: pip's reason stands at its end.
const OUTPUT_TAIL_BYTES: u64 = 4096;

/// Why an environment could not be made.
#[derive(Debug, Error)]
pub enum EnvironmentError {
    /// A step could not be started.
    #[error("cannot run {program}; python3 with its venv module must be installed")]
    Start {
        /// What was to run.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A step failed.
    #[error("{step} failed ({status}): {output}")]
    Failed {
        /// Which.
        step: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        output: String,
    },
    /// A step took too long.
    #[error("{step} took longer than {} minutes", PREPARE_TIMEOUT.as_secs() / 60)]
    TooSlow {
        /// Which.
        step: &'static str,
    },
    /// The disk failed.
    #[error("writing {path} failed")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The interpreter of the plugin in `folder`: its environment's, or `None` when it has none.
#[must_use]
pub fn python_of(folder: &Path) -> Option<PathBuf> {
    let python = folder.join(ENVIRONMENT_FOLDER).join("bin/python");
    python.exists().then_some(python)
}

/// Makes the environment for `requirements`, which [`crate::PluginManifest`] has checked. Blocks for up to minutes; does nothing without requirements or
/// when the environment is there.
///
/// # Errors
/// When Python or a package is missing, or the disk fails.
pub fn prepare_environment(folder: &Path, requirements: &[String]) -> Result<(), EnvironmentError> {
    if requirements.is_empty() || python_of(folder).is_some() {
        return Ok(());
    }
    // Scripts of an environment hold its path, so it is made in its place and removed when it is not complete.
    let environment = folder.join(ENVIRONMENT_FOLDER);
    let result = make(folder, &environment, requirements);
    if result.is_err() {
        let _ = fs::remove_dir_all(&environment);
    }
    result
}

fn make(
    folder: &Path,
    environment: &Path,
    requirements: &[String],
) -> Result<(), EnvironmentError> {
    let list = folder.join(".requirements.txt");
    let failed = |source| EnvironmentError::Io {
        path: list.clone(),
        source,
    };
    fs::write(&list, requirements.join("\n")).map_err(failed)?;
    let deadline = Instant::now() + PREPARE_TIMEOUT;
    let mut venv = Command::new("python3");
    venv.args(["-I", "-m", "venv"]).arg(environment);
    step(folder, "making the virtual environment", venv, deadline)?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args([
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "-r",
    ])
    .arg(&list);
    step(folder, "installing the requirements", pip, deadline)
}

fn step(
    folder: &Path,
    step: &'static str,
    mut command: Command,
    deadline: Instant,
) -> Result<(), EnvironmentError> {
    let log = folder.join(".environment.log");
    let failed = |source| EnvironmentError::Io {
        path: log.clone(),
        source,
    };
    let file = fs::File::create(&log).map_err(failed)?;
    let errors = file.try_clone().map_err(failed)?;
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .current_dir(folder);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .map_err(|source| EnvironmentError::Start { program, source })?;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(EnvironmentError::TooSlow { step });
            }
            None => thread::sleep(POLL),
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(EnvironmentError::Failed {
        step,
        status,
        output: tail(&log).unwrap_or_default(),
    })
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_requirements_no_environment_is_made() {
        let folder = tempfile::tempdir().unwrap();
        prepare_environment(folder.path(), &[]).unwrap();
        assert_eq!(python_of(folder.path()), None);
    }

    #[test]
    fn a_failed_step_shows_the_end_of_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such package >&2; exit 3"]);
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = step(folder.path(), "installing", command, deadline).unwrap_err();
        assert!(error.to_string().contains("no such package"), "{error}");
    }

    #[test]
    fn a_step_without_end_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = step(folder.path(), "sleeping", command, Instant::now()).unwrap_err();
        assert!(matches!(error, EnvironmentError::TooSlow { .. }));
    }
}
