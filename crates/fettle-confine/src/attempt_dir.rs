//! The folder of one attempt on one machine: the place where executor, driver and workers leave each other word.
//!
//! Owns the names of the files and the record of the end. Logs stay here after everything else of the attempt is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fettle_model::{AttemptEvidence, AttemptExit, StageTimings};
use serde::{Deserialize, Serialize};

use crate::files::write_atomically;

/// How an attempt ended, written by its driver as its last act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How it ended.
    pub exit: AttemptExit,
    /// What the driver captured.
    pub evidence: AttemptEvidence,
    /// How the stages spent their time.
    #[serde(default)]
    pub stages: Option<StageTimings>,
}

/// The folder of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptDir {
    path: PathBuf,
}

impl AttemptDir {
    /// The folder at `path`, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder that holds this `spec.json`; a bare file name means the current folder.
    #[must_use]
    pub fn of_spec(spec: &Path) -> Self {
        let parent = spec
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Self::new(parent.unwrap_or(Path::new(".")))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `spec.json`: the `AttemptSpec`.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    /// `token`: the attempt's secret, for the owner's eyes only.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.path.join("token")
    }

    /// `group.json`: the attempt's group of processes.
    #[must_use]
    pub fn group(&self) -> PathBuf {
        self.path.join("group.json")
    }

    /// `lock`: held by the driver for its life.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// `spawned.json`: the identity of the driver as seen by the executor that started it.
    #[must_use]
    pub fn spawned(&self) -> PathBuf {
        self.path.join("spawned.json")
    }

    /// `driver.json`: the identity of the driver that holds the lock, written by itself.
    #[must_use]
    pub fn driver(&self) -> PathBuf {
        self.path.join("driver.json")
    }

    /// `exit.json`: the driver's last word.
    #[must_use]
    pub fn exit(&self) -> PathBuf {
        self.path.join("exit.json")
    }

    /// `driver_exit.json`: how the driver ended, written by the executor that was its parent.
    #[must_use]
    pub fn driver_exit(&self) -> PathBuf {
        self.path.join("driver_exit.json")
    }

    /// `stop.json`: there once a stop was asked for; no driver is started after that.
    #[must_use]
    pub fn stop(&self) -> PathBuf {
        self.path.join("stop.json")
    }

    /// `ended.json`: all that the executor captured when it saw the end.
    #[must_use]
    pub fn ended(&self) -> PathBuf {
        self.path.join("ended.json")
    }

    /// `driver.out`: the driver's standard output.
    #[must_use]
    pub fn driver_out(&self) -> PathBuf {
        self.path.join("driver.out")
    }

    /// `driver.err`: the driver's standard error.
    #[must_use]
    pub fn driver_err(&self) -> PathBuf {
        self.path.join("driver.err")
    }

    /// `worker-N.err`: the standard error of worker `number`.
    #[must_use]
    pub fn worker_err(&self, number: u32) -> PathBuf {
        self.path.join(format!("worker-{number}.err"))
    }

    /// Writes the last word, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_exit(&self, record: &ExitRecord) -> io::Result<()> {
        write_atomically(&self.exit(), &serde_json::to_vec(record)?)
    }

    /// Reads the last word; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read_exit(&self) -> io::Result<Option<ExitRecord>> {
        read_json(&self.exit())
    }
}

/// Reads a JSON file; `None` when there is no such file.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(folder.path());
        assert_eq!(dir.read_exit().unwrap(), None);
        let record = ExitRecord {
            exit: AttemptExit::OutOfMemory,
            evidence: AttemptEvidence::default(),
            stages: None,
        };
        dir.write_exit(&record).unwrap();
        assert_eq!(dir.read_exit().unwrap(), Some(record));
        fs::write(dir.exit(), "{").unwrap();
        assert!(dir.read_exit().is_err());
    }

    #[test]
    fn the_folder_follows_from_the_spec() {
        assert_eq!(
            AttemptDir::of_spec(Path::new("/a/b/spec.json")).path(),
            Path::new("/a/b")
        );
        assert_eq!(
            AttemptDir::of_spec(Path::new("spec.json")).path(),
            Path::new(".")
        );
    }
}
