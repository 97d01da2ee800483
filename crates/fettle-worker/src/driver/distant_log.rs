//! Logs of workers on other nodes: read where they are written, and kept beside the driver, where its own workers' logs are.
//!
//! Owns the bounds. What a worker wrote comes with its death or its end at the latest, so that the log stays when its node does not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use fettle_confine::AttemptDir;

/// Of what a worker writes between two looks so much is brought over, its end; a flood must not hold up the rows.
const READ_BYTES_MAX: u64 = 64 << 10;
/// A log that is longer than this is cut to its last half.
const KEPT_BYTES_MAX: u64 = 1 << 20;
/// Workers whose logs are kept; an attempt that has lost more hosts than this tells nothing new.
const LOGS_MAX: u32 = 100;

/// A log that is read as it grows.
#[derive(Debug)]
pub(super) struct LogReader {
    path: PathBuf,
    read_to: u64,
}

impl LogReader {
    /// The log at `path` from its beginning.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read_to: 0 }
    }

    /// What was written since the last time; `None` when that is nothing.
    pub(super) fn read(&mut self) -> Option<String> {
        let mut file = File::open(&self.path).ok()?;
        let end = file.metadata().ok()?.len();
        let from = end.saturating_sub(READ_BYTES_MAX).max(self.read_to);
        let left_out = from - self.read_to;
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        file.take(READ_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        self.read_to = from + bytes.len() as u64;
        let text = String::from_utf8_lossy(&bytes);
        match (bytes.is_empty(), left_out) {
            (true, _) => None,
            (false, 0) => Some(text.into_owned()),
            (false, _) => Some(format!(
                "\n[{left_out} bytes of this log stayed on the worker's node]\n{text}"
            )),
        }
    }
}

/// Keeps what a worker elsewhere wrote.
pub(super) fn keep(dir: &AttemptDir, attempt: &str, worker: u32, text: &str) {
    if worker >= LOGS_MAX {
        return;
    }
    let path = path(dir, attempt, worker);
    let kept = append(&path, text).and_then(|bytes| match bytes > KEPT_BYTES_MAX {
        true => cut(&path),
        false => Ok(()),
    });
    if let Err(error) = kept {
        tracing::warn!(worker, %error, "the log of a worker elsewhere is not kept");
    }
}

/// Where the backend looks for it: beside the logs of the driver's own workers. Where those are links into a folder of the backend's, it
/// has a name there that no worker of that node has.
fn path(dir: &AttemptDir, attempt: &str, worker: u32) -> PathBuf {
    let linked = fs::read_link(dir.worker_err(0)).ok();
    let folder = linked.as_ref().and_then(|target| target.parent());
    folder.map_or_else(
        || dir.worker_err(worker),
        |folder| folder.join(format!("fettle-{attempt}-distant-{worker}.err")),
    )
}

fn append(path: &PathBuf, text: &str) -> io::Result<u64> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.metadata()?.len())
}

fn cut(path: &PathBuf) -> io::Result<()> {
    let whole = fs::read(path)?;
    let half = whole.len().saturating_sub(KEPT_BYTES_MAX as usize / 2);
    let line = whole[half..].iter().position(|byte| *byte == b'\n');
    let from = half + line.map_or(0, |line| line + 1);
    let mut rest = format!("[{from} bytes before this are not kept]\n").into_bytes();
    rest.extend_from_slice(&whole[from..]);
    fs::write(path, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_it_grows_and_of_a_flood_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker-3.err");
        let mut reader = LogReader::new(path.clone());
        assert_eq!(reader.read(), None);
        append(&path, "one\n").unwrap();
        assert_eq!(reader.read().as_deref(), Some("one\n"));
        assert_eq!(reader.read(), None);
        append(&path, &"x".repeat(READ_BYTES_MAX as usize + 7)).unwrap();
        let flood = reader.read().unwrap();
        assert!(
            flood.contains("[7 bytes of this log stayed"),
            "{}",
            &flood[..80]
        );
        assert!(flood.len() < READ_BYTES_MAX as usize + 100);
    }

    #[test]
    fn what_is_kept_is_bounded_and_ends_with_the_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(folder.path());
        let line = format!("{}\n", "y".repeat(1023));
        for _ in 0..1500 {
            keep(&dir, "a", 5, &line);
        }
        keep(&dir, "a", 5, "last\n");
        let kept = fs::read_to_string(dir.worker_err(5)).unwrap();
        assert!(kept.len() as u64 <= KEPT_BYTES_MAX, "{}", kept.len());
        assert!(kept.starts_with("[") && kept.ends_with("\nlast\n"));
        keep(&dir, "a", LOGS_MAX, "none\n");
        assert!(!dir.worker_err(LOGS_MAX).exists());
    }

    #[test]
    fn a_copy_lies_where_the_logs_of_the_drivers_own_workers_are_linked_to() {
        let folder = tempfile::tempdir().unwrap();
        let logs = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(folder.path());
        std::os::unix::fs::symlink(logs.path().join("fettle-a-worker-0.err"), dir.worker_err(0))
            .unwrap();
        keep(&dir, "a", 5, "here\n");
        let kept = fs::read_to_string(logs.path().join("fettle-a-distant-5.err"));
        assert_eq!(kept.unwrap(), "here\n");
    }
}
