//! Reading of an attempt's logs.
//!
//! Owns the bounds. Names are closed (`LogName`), so no path can be asked for.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use fettle_confine::AttemptDir;
use fettle_model::AttemptId;
use fettle_ports::executor::{ExecutorError, LogChunk, LogName};

use crate::blocking;

/// One answer: more than a page shows, little enough to hold in memory for each reader.
const CHUNK_BYTES_MAX: u64 = 4 << 20;

/// The file of a log.
fn path(dir: &AttemptDir, log: &LogName) -> PathBuf {
    match log {
        LogName::Driver => dir.driver_err(),
        LogName::Worker(number) => dir.worker_err(*number),
    }
}

/// A log's name for people.
fn name(log: &LogName) -> String {
    match log {
        LogName::Driver => "driver".to_owned(),
        LogName::Worker(number) => format!("worker-{number}"),
    }
}

/// The logs that exist: the driver's, then the workers' by number.
pub(crate) fn list(dir: &AttemptDir) -> io::Result<Vec<LogName>> {
    let mut workers = Vec::new();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.path())? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == "driver.err" {
            found.push(LogName::Driver);
        }
        let number = name
            .strip_prefix("worker-")
            .and_then(|rest| rest.strip_suffix(".err"));
        workers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    workers.sort_unstable();
    found.extend(workers.into_iter().map(LogName::Worker));
    Ok(found)
}

/// Reads a piece for the port.
pub(crate) async fn chunk(
    dir: &AttemptDir,
    attempt: &AttemptId,
    log: &LogName,
    offset: i64,
    limit_bytes: u64,
) -> Result<LogChunk, ExecutorError> {
    let path = path(dir, log);
    let read = blocking(move || read(&path, offset, limit_bytes)).await;
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ExecutorError::NoSuchLog {
            attempt: attempt.clone(),
            log: name(log),
        },
        _ => ExecutorError::Unavailable {
            attempt: attempt.clone(),
            message: error.to_string(),
        },
    })
}

/// Reads a piece; a negative `offset` counts from the end, and one past the end gives an empty piece there.
fn read(path: &PathBuf, offset: i64, limit_bytes: u64) -> io::Result<LogChunk> {
    let mut file = File::open(path)?;
    let total_bytes = file.metadata()?.len();
    let offset = match u64::try_from(offset) {
        Ok(offset) => offset.min(total_bytes),
        Err(_) => total_bytes.saturating_sub(offset.unsigned_abs()),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(limit_bytes.min(CHUNK_BYTES_MAX))
        .read_to_end(&mut bytes)?;
    Ok(LogChunk {
        bytes: Bytes::from(bytes),
        offset,
        total_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_from_either_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("driver.err");
        fs::write(&file, "0123456789").unwrap();
        let piece = |offset, limit| {
            let chunk = read(&file, offset, limit).unwrap();
            assert_eq!(chunk.total_bytes, 10);
            (
                chunk.offset,
                String::from_utf8(chunk.bytes.to_vec()).unwrap(),
            )
        };
        assert_eq!(piece(0, 4), (0, "0123".to_owned()));
        assert_eq!(piece(8, 100), (8, "89".to_owned()));
        assert_eq!(piece(-3, 2), (7, "78".to_owned()));
        assert_eq!(piece(-100, 1), (0, "0".to_owned()));
        assert_eq!(piece(100, 1), (10, String::new()));
    }

    #[test]
    fn logs_are_listed_in_order_and_other_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "worker-10.err",
            "worker-2.err",
            "token",
            "worker-x.err",
            "driver.err",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let dir = AttemptDir::new(folder.path());
        assert_eq!(
            list(&dir).unwrap(),
            [LogName::Driver, LogName::Worker(2), LogName::Worker(10)]
        );
        assert!(list(&AttemptDir::new("/no/such/folder")).is_err());
    }
}
