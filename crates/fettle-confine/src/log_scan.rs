//! What is kept of a log when its writer has died: the last lines, and the first and the last error however long the log is.
//!
//! Owns the bounded reading of log files. It must not judge; it only finds lines that may be errors.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use fettle_model::evidence::{LogEvidence, LogPiece};
use serde::{Deserialize, Serialize};

/// Bytes that are searched from each end for an error at most. The search from an end stops at the first hit, so only a log without
/// errors near its ends is read so far.
const SEARCH_BYTES_MAX: u64 = 64 << 20;
/// Bytes that are read at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes that are kept of the log from the first error on: a chained traceback fits.
const FIRST_BYTES_MAX: u64 = 4 << 10;
/// Bytes that are kept before and after the last error: of a traceback the exception comes last.
const LAST_BEFORE_BYTES: u64 = 2 << 10;
const LAST_AFTER_BYTES: u64 = 1 << 10;

/// Words without which a line is no error. They may also stand in harmless lines; who reads the piece decides.
const ERROR_WORDS: [&str; 20] = [
    "error",
    "exception",
    "traceback",
    "panicked at",
    "fatal",
    "critical",
    "fault",
    "abort",
    "killed",
    "out of memory",
    "bad_alloc",
    "memory allocation",
    "no space left",
    "denied",
    "refused",
    "timed out",
    "no module named",
    "not found",
    "failed",
    "cannot",
];

static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(ERROR_WORDS)
        .ok()
});

/// The longest word less one byte: so much of the next block is read with each block, lest a word be cut.
const OVERLAP_BYTES: usize = 32;

/// The last lines of a log and what else is kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLog {
    /// The last lines.
    pub tail: String,
    /// The rest.
    pub evidence: LogEvidence,
}

/// Reads the part of a log that begins at `begins_at`: at most the last `tail_lines_max` lines among its last `tail_bytes_max` bytes,
/// and its first and last error. A log that cannot be read is empty.
#[must_use]
pub fn keep_log(
    path: &Path,
    begins_at: u64,
    tail_bytes_max: u64,
    tail_lines_max: usize,
) -> KeptLog {
    let read = || -> io::Result<KeptLog> {
        let file = File::open(path)?;
        let log = Part {
            end: file.metadata()?.len().max(begins_at),
            begin: begins_at,
            file,
        };
        log.keep(tail_bytes_max, tail_lines_max)
    };
    read().unwrap_or_default()
}

struct Part {
    file: File,
    begin: u64,
    end: u64,
}

impl Part {
    fn keep(&self, tail_bytes_max: u64, tail_lines_max: usize) -> io::Result<KeptLog> {
        let (tail_offset, tail) = self.tail(tail_bytes_max, tail_lines_max)?;
        let head_end = self.end.min(self.begin.saturating_add(SEARCH_BYTES_MAX));
        let tail_begin = self.begin.max(self.end.saturating_sub(SEARCH_BYTES_MAX));
        let first = self.first_hit(self.begin, head_end)?;
        let last = self.last_hit(tail_begin.max(first.unwrap_or(0)), self.end)?;
        // An error that is only found near the end is the first one that is known.
        let first = match (first, last) {
            (None, Some(_)) => self.first_hit(tail_begin, self.end)?,
            (first, _) => first,
        };
        let is_bridged = first.is_some_and(|at| at < head_end);
        Ok(KeptLog {
            tail,
            evidence: LogEvidence {
                begins_at: self.begin,
                total_bytes: self.end - self.begin,
                tail_offset,
                first_error: first.map(|at| self.first_piece(at)).transpose()?,
                last_error: last.map(|at| self.last_piece(at)).transpose()?,
                unscanned_bytes: if is_bridged {
                    0
                } else {
                    tail_begin.saturating_sub(head_end)
                },
            },
        })
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(to.min(self.end).saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self
                .file
                .read_at(&mut bytes[filled..], from + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn tail(&self, bytes_max: u64, lines_max: usize) -> io::Result<(u64, String)> {
        let from = self.begin.max(self.end.saturating_sub(bytes_max));
        let bytes = self.read(from, self.end)?;
        let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let breaks = body
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n');
        let start = match breaks.map(|(at, _)| at).nth(lines_max.saturating_sub(1)) {
            Some(at) => at + 1,
            // Within the bytes there are fewer lines; the first of them may be cut.
            None => 0,
        };
        let text = String::from_utf8_lossy(&body[start..]).into_owned();
        Ok((from + start as u64, text))
    }

    /// Where the first line of an error begins between two offsets.
    fn first_hit(&self, from: u64, to: u64) -> io::Result<Option<u64>> {
        let Some(words) = WORDS.as_ref() else {
            return Ok(None);
        };
        let mut at = from;
        while at < to {
            let block_end = to.min(at + BLOCK_BYTES as u64);
            let bytes = self.read(at, to.min(block_end + OVERLAP_BYTES as u64))?;
            if let Some(hit) = words.find(&bytes) {
                return Ok(Some(self.line_start(at + hit.start() as u64)?));
            }
            at = block_end;
        }
        Ok(None)
    }

    /// Where the last line of an error begins between two offsets.
    fn last_hit(&self, from: u64, to: u64) -> io::Result<Option<u64>> {
        let Some(words) = WORDS.as_ref() else {
            return Ok(None);
        };
        let mut end = to;
        while end > from {
            let start = from.max(end.saturating_sub(BLOCK_BYTES as u64));
            let bytes = self.read(start, to.min(end + OVERLAP_BYTES as u64))?;
            if let Some(hit) = words.find_iter(&bytes).last() {
                return Ok(Some(self.line_start(start + hit.start() as u64)?));
            }
            end = start;
        }
        Ok(None)
    }

    /// The beginning of the line around `at`; of an endless line a beginning near enough.
    fn line_start(&self, at: u64) -> io::Result<u64> {
        let from = self.begin.max(at.saturating_sub(FIRST_BYTES_MAX / 2));
        let before = self.read(from, at)?;
        let found = before.iter().rposition(|byte| *byte == b'\n');
        Ok(found.map_or(from, |newline| from + newline as u64 + 1))
    }

    fn first_piece(&self, at: u64) -> io::Result<LogPiece> {
        self.piece(at, at + FIRST_BYTES_MAX)
    }

    fn last_piece(&self, at: u64) -> io::Result<LogPiece> {
        let from = self.line_start(self.begin.max(at.saturating_sub(LAST_BEFORE_BYTES)))?;
        self.piece(from, at + LAST_AFTER_BYTES)
    }

    fn piece(&self, from: u64, to: u64) -> io::Result<LogPiece> {
        let bytes = self.read(from, to)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(LogPiece {
            offset: from,
            text: text.trim_end().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use super::*;

    fn kept(text: &str, begins_at: u64) -> KeptLog {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, text).unwrap();
        keep_log(&path, begins_at, 16 << 10, 40)
    }

    #[test]
    fn the_first_and_the_last_error_outlive_a_flood_with_their_offsets() {
        let mut text = "starting\nTraceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'first'\n".to_owned();
        while text.len() < 3 << 20 {
            writeln!(text, "row {} done", text.len()).unwrap();
        }
        let last_at = text.len() as u64;
        text.push_str("ValueError: the last one\n");
        while (text.len() as u64) < last_at + (1 << 20) {
            text.push_str("still going\n");
        }
        let kept = kept(&text, 0);
        let evidence = kept.evidence;
        let first = evidence.first_error.unwrap();
        assert_eq!(first.offset, 9);
        assert!(first.text.starts_with("Traceback") && first.text.contains("KeyError: 'first'"));
        let last = evidence.last_error.unwrap();
        let at = last.offset + last.text.find("ValueError").unwrap() as u64;
        assert_eq!(at, last_at);
        assert_eq!(evidence.total_bytes, text.len() as u64);
        assert_eq!(kept.tail.lines().count(), 40);
        let tail_offset = usize::try_from(evidence.tail_offset).unwrap();
        assert_eq!(text[tail_offset..].trim_end(), kept.tail);
    }

    #[test]
    fn what_an_earlier_process_wrote_to_the_file_is_not_this_one_s() {
        let earlier = "error: of another\n";
        let kept = kept(&format!("{earlier}all is well\n"), earlier.len() as u64);
        assert_eq!(kept.evidence.first_error, None);
        assert_eq!(kept.tail, "all is well");
        assert_eq!(kept.evidence.tail_offset, earlier.len() as u64);
    }

    #[test]
    fn a_word_on_the_edge_of_a_block_is_found_from_both_ends() {
        let mut text = "x".repeat(BLOCK_BYTES - 3);
        text.replace_range(BLOCK_BYTES - 4.., "\n");
        text.push_str("panicked at here\n");
        text.push_str(&"y\n".repeat(BLOCK_BYTES / 2 - 5));
        let evidence = kept(&text, 0).evidence;
        let at = text.find("panicked").unwrap() as u64;
        assert_eq!(evidence.first_error.unwrap().offset, at);
        let last = evidence.last_error.unwrap();
        assert!(last.text.contains("panicked at here"), "{last:?}");
    }

    #[test]
    fn no_log_and_an_endless_line_do_no_harm() {
        assert_eq!(
            keep_log(Path::new("/no/such"), 0, 10, 10),
            KeptLog::default()
        );
        let kept = kept(&"error ".repeat(100_000), 0);
        assert!(kept.evidence.first_error.unwrap().text.len() as u64 <= FIRST_BYTES_MAX);
        assert_eq!(kept.tail.len(), 16 << 10);
    }
}
