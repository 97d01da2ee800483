//! Server-sent events, as the HTML standard's section 9.2.6 parses them.
//!
//! Owns the cutting of a byte stream into events. It must not reconnect: the caller knows where it was.

use crate::error::ClientError;
use crate::public::ByteStream;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerEvent {
    /// Its `id`, for going on after it.
    pub id: Option<String>,
    /// Its type.
    pub event: Option<String>,
    /// Its data lines, joined by newlines.
    pub data: String,
}

/// A longer line is dropped: no event of Fettle comes near it, and memory is finite.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The events of one connection.
#[derive(Debug)]
pub struct EventStream {
    bytes: ByteStream,
    buffer: Vec<u8>,
    pending: ServerEvent,
    has_data: bool,
}

impl EventStream {
    pub(crate) fn new(bytes: ByteStream) -> Self {
        Self {
            bytes,
            buffer: Vec::new(),
            pending: ServerEvent::default(),
            has_data: false,
        }
    }

    /// The next event; `None` when the server has closed the stream. An event that was cut off is not delivered.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        loop {
            while let Some(line) = self.take_line() {
                if let Some(event) = self.accept(&line) {
                    return Ok(Some(event));
                }
            }
            match self.bytes.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                self.buffer.clear();
            }
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    fn accept(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.pending);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.pending.data.push('\n');
                }
                self.pending.data.push_str(value);
                self.has_data = true;
            }
            "event" => self.pending.event = Some(value.to_owned()),
            "id" => self.pending.id = Some(value.to_owned()),
            // Comments begin with a colon; other fields are for browsers.
            _ => {}
        }
        None
    }
}
