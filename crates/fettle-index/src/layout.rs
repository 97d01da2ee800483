//! A shard's directory: what the library put there that we must know, and its log, which we renew.
//!
//! `segments/UUID/segment.json` says which vectors there are and the number of the last operation that was flushed; it is
//! the truth about the shard. `edge_config.json` is written anew from it at each opening, because a kill between the two
//! would otherwise leave a shard that does not open.
//!
//! The library numbers operations by their place in its log, and passes over an operation whose number is below that of
//! the document it changes. Since it neither replays nor shortens the log, the log is thrown away at each opening and a
//! new one begins after a mark: an empty closed log file, whose name is the number from which the log goes on.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use qdrant_edge::{Distance, EdgeConfig, EdgeVectorParams, WalOptions};
use rustix::fs::FallocateFlags;

use crate::fault::Fault;

mod segment;

/// The log's directory.
const LOG: &str = "wal";
/// An empty log file, kept to make marks of.
const BLANK_LOG: &str = "blank.log";

/// A log file's size. Most writes are of some 100 KiB, so this is dozens of them; the library's own 32 MiB would make
/// `LOG_FILES_MAX` of them more than most collections' data. Files are sparse: an idle shard does not occupy it.
const LOG_FILE_BYTES: usize = 8 * 1024 * 1024;

/// The size of an empty log file: one page, since it only ever holds its header.
const BLANK_LOG_BYTES: usize = 4096;

/// How far a fresh log's numbers are ahead of the last flushed operation. A kill during a flush may have stored numbers
/// that `segment.json` does not tell yet, at most one for each operation between two flushes; those are bounded by
/// `GROUP_REQUESTS_MAX` in `writer`, far below this.
const NUMBER_GAP: u64 = 1 << 20;

/// What a shard's directory tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// The number of the last operation that was flushed.
    version: u64,
    /// Vector lengths by key.
    pub(crate) vectors: BTreeMap<String, usize>,
}

impl Layout {
    /// The settings to open the shard with.
    pub(crate) fn config(&self) -> EdgeConfig {
        let log = WalOptions {
            segment_capacity: LOG_FILE_BYTES,
            segment_queue_len: 0,
            retain_closed: NonZeroUsize::MIN,
        };
        config(&self.vectors, log)
    }

    /// Throws the log in `dir` away and begins one whose numbers are past all that the shard has seen.
    fn renew_log(&self, dir: &Path) -> Result<(), Fault> {
        let first = self.version.saturating_add(NUMBER_GAP);
        let log = dir.join(LOG);
        let renew = || {
            if log.exists() {
                fs::remove_dir_all(&log)?;
            }
            fs::create_dir(&log)?;
            fs::copy(dir.join(BLANK_LOG), log.join(format!("closed-{first}")))
        };
        renew()
            .map(|_| ())
            .map_err(|error| Fault::io("begin a new log", &error))
    }
}

/// The settings to create a shard with: its first log is thrown away when it is opened.
pub(crate) fn config_for_creation(vectors: &BTreeMap<String, usize>) -> EdgeConfig {
    let log = WalOptions {
        segment_capacity: BLANK_LOG_BYTES,
        segment_queue_len: 0,
        retain_closed: NonZeroUsize::MIN,
    };
    config(vectors, log)
}

/// Payload and vectors stay on disk and are mapped: memory is then the kernel's cache, which it takes back when needed.
fn config(vectors: &BTreeMap<String, usize>, log: WalOptions) -> EdgeConfig {
    let vectors = vectors.iter().map(|(key, size)| {
        let params = EdgeVectorParams::builder(*size, Distance::Cosine)
            .on_disk(true)
            .build();
        (key.clone(), params)
    });
    EdgeConfig::builder()
        .on_disk_payload(true)
        .vectors(vectors.collect())
        .wal_options(log)
        .build()
}

/// Makes `dir` ready to be opened and tells what it holds.
pub(crate) fn prepare(dir: &Path) -> Result<Layout, Fault> {
    let path = segment::find(dir)?;
    let mut state = segment::State::read(&path)?;
    if state.map_vectors() {
        state.write(&path)?;
    }
    let layout = Layout {
        version: state.version(),
        vectors: state.vectors(),
    };
    layout.renew_log(dir)?;
    Ok(layout)
}

/// Removes what adding a vector has left when it was cut short, before it is added again.
pub(crate) fn remove_stray_vector(dir: &Path, key: &str) -> Result<(), Fault> {
    segment::remove_stray_vector(&segment::find(dir)?, key)
}

/// Keeps the empty log file of a shard that was just created and has not been written to.
pub(crate) fn keep_blank_log(dir: &Path) -> Result<(), Fault> {
    let blank = log_files(dir)?
        .into_iter()
        .find(|path| path.ends_with("open-1"))
        .ok_or_else(|| Fault::Broken("a new shard has no log".to_owned()))?;
    fs::copy(blank, dir.join(BLANK_LOG))
        .map(|_| ())
        .map_err(|error| Fault::io("keep an empty log", &error))
}

/// Gives the space of full log files back, and returns how many of these files there are. The library has them mapped,
/// so they can be neither removed nor cut; they are emptied by punching a hole. The newest may still be on its way to the
/// disk and is spared. On a file system that knows no holes nothing happens.
pub(crate) fn release_log(dir: &Path) -> Result<usize, Fault> {
    let mut closed: Vec<_> = log_files(dir)?
        .into_iter()
        .filter_map(|path| Some((closed_from(&path)?, path)))
        .collect();
    closed.sort();
    for (_, path) in closed.iter().rev().skip(1) {
        let emptied = fs::metadata(path).and_then(|about| match about.blocks() {
            0 => Ok(()),
            _ => punch(path, about.len()),
        });
        if let Err(error) = emptied {
            tracing::debug!(path = %path.display(), %error, "a log file keeps its space");
            break;
        }
    }
    Ok(closed.len())
}

fn punch(path: &Path, length: u64) -> std::io::Result<()> {
    let file = fs::File::options().write(true).open(path)?;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(&file, flags, 0, length)?)
}

/// The number from which a full log file goes on; `None` for other files.
fn closed_from(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_prefix("closed-")?
        .parse()
        .ok()
}

fn log_files(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    fs::read_dir(dir.join(LOG))
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|error| Fault::io("read the log's directory", &error))
}
