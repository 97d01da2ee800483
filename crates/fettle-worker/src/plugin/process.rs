//! One process of a plugin: a line in, a line out, its standard error in the worker's log.
//!
//! Owns the process and the threads that read from it. It must not know what the lines mean.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fettle_model::ProcessExit;

/// Longest answer, in bytes: a row's documents with their vectors as decimal text, with room.
pub(super) const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Lines of standard error that are kept for the row to blame.
const TAIL_LINES: usize = 40;
/// Longest line of standard error; more is cut, it is only for people.
const ERROR_LINE_BYTES: u64 = 8192;
/// A process that has closed its output ends at once, or is ended.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// A wait that ends so much later than it should means that this very process was stopped; on a busy machine a tenth of that is seen.
const STOPPED_FOR: Duration = Duration::from_secs(1);
/// How often its end is looked for.
const POLL: Duration = Duration::from_millis(10);

/// How an exchange broke. The process is gone then.
#[derive(Debug)]
pub(super) enum Broken {
    /// It ended.
    Ended {
        /// How.
        exit: ProcessExit,
        /// The end of its standard error.
        tail: String,
    },
    /// It did not answer in time.
    TimedOut,
    /// Its answer never ended.
    TooLong,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// A plugin's process.
pub(super) struct PluginProcess {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Answer>,
    tail: Tail,
    readers: Vec<thread::JoinHandle<()>>,
}

enum Answer {
    Line(Vec<u8>),
    TooLong,
}

impl PluginProcess {
    /// Starts `command`.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let (sender, answers) = sync_channel(1);
        let tail = Tail::default();
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            readers.push(reader("fettle-plugin-out", move || {
                read_answers(output, &sender)
            })?);
        }
        if let Some(errors) = child.stderr.take() {
            let tail = Arc::clone(&tail);
            readers.push(reader("fettle-plugin-err", move || {
                read_errors(errors, &tail)
            })?);
        }
        Ok(Self {
            child,
            input,
            answers,
            tail,
            readers,
        })
    }

    /// Writes a line and waits for the answer.
    pub(super) fn exchange(
        &mut self,
        line: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, Broken> {
        if self.write(line).is_err() {
            return Err(self.ended());
        }
        let answer = match timeout {
            None => self
                .answers
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(timeout) => self.answer_within(timeout),
        };
        match answer {
            Ok(Answer::Line(line)) => Ok(line),
            Ok(Answer::TooLong) => Err(self.killed(Broken::TooLong)),
            Err(RecvTimeoutError::Timeout) => Err(self.killed(Broken::TimedOut)),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    /// The answer. A time in which this process was stopped says nothing about the plugin, so it is given its time again.
    fn answer_within(&self, timeout: Duration) -> Result<Answer, RecvTimeoutError> {
        loop {
            let began = Instant::now();
            match self.answers.recv_timeout(timeout) {
                Err(RecvTimeoutError::Timeout) if began.elapsed() > timeout + STOPPED_FOR => {}
                other => return other,
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(line)?;
        input.write_all(b"\n")?;
        input.flush()
    }

    fn killed(&mut self, broken: Broken) -> Broken {
        let _ = self.child.kill();
        let _ = self.child.wait();
        broken
    }

    fn ended(&mut self) -> Broken {
        drop(self.input.take());
        let exit = self.wait().map(exit_of).unwrap_or_default();
        // What it said last may still be on its way; a grandchild that holds the pipe open must not be waited for.
        let deadline = Instant::now() + END_TIMEOUT;
        while self.readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        Broken::Ended {
            exit,
            tail: tail.iter().cloned().collect::<Vec<_>>().join("\n"),
        }
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
                _ => {
                    let _ = self.child.kill();
                    return self.child.wait().ok();
                }
            }
        }
    }
}

impl Drop for PluginProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    ProcessExit {
        code: status.code(),
        signal: status.signal(),
    }
}

fn read_answers(output: impl Read, sender: &SyncSender<Answer>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = output
            .by_ref()
            .take(ANSWER_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut line);
        let answer = match read {
            Ok(0) | Err(_) => return,
            Ok(length) if length > ANSWER_BYTES_MAX => Answer::TooLong,
            Ok(_) => Answer::Line(line),
        };
        if sender.send(answer).is_err() {
            return;
        }
    }
}

fn read_errors(errors: impl Read, tail: &Tail) {
    let mut errors = BufReader::new(errors);
    loop {
        let mut line = Vec::new();
        match errors
            .by_ref()
            .take(ERROR_LINE_BYTES)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // The worker's log is a file; when its disk is full the plugin goes on all the same.
        let _ = io::stderr().write_all(&line);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}
