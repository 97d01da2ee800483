//! The worker's words to its driver. They are written at once and by whoever has something to say, so that the driver knows of a
//! row before the row can do any harm.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::codes;
use crate::frame::{FatalCause, FromWorker};

/// The worker's standard output.
pub(super) struct Output {
    to: Mutex<Box<dyn Write + Send>>,
    ending: mpsc::Sender<u8>,
}

impl Output {
    /// Frames go to `to`; when it cannot be written, the worker is told to end through `ending`.
    pub(super) fn new(to: impl Write + Send + 'static, ending: mpsc::Sender<u8>) -> Self {
        Self {
            to: Mutex::new(Box::new(to)),
            ending,
        }
    }

    /// Writes a frame.
    pub(super) fn send(&self, frame: &FromWorker) {
        let mut line = match serde_json::to_vec(frame) {
            Ok(line) => line,
            Err(error) => return tracing::error!(%error, "a frame cannot be written as JSON"),
        };
        line.push(b'\n');
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let written = to.write_all(&line).and_then(|()| to.flush());
        if written.is_err() {
            // The driver is gone; when the worker has been told so already, that is enough.
            let _ = self.ending.try_send(codes::DRIVER_GONE);
        }
    }

    /// Says that no worker of the attempt can work, and gives the code to end with.
    pub(super) fn fatal(&self, cause: FatalCause, message: &str) -> u8 {
        tracing::error!("{message}");
        self.send(&FromWorker::Fatal {
            cause,
            message: message.to_owned(),
        });
        match cause {
            FatalCause::Extractor => codes::EXTRACTOR_FAILED,
            FatalCause::Environment => codes::ENVIRONMENT_FAILED,
        }
    }
}
