//! The printer: data to standard output, all else to standard error.
//!
//! Owns colour, quiet and JSON. Everything that is printed is understandable without colour.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::args::GlobalArgs;
use crate::error::CliError;

/// How to set off a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
}

/// Prints for one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Printer {
    /// A printer as the options and the terminal want it.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        let no_colour =
            global.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = !no_colour && !dumb && !global.json;
        Self {
            json: global.json,
            quiet: global.quiet,
            colour_out: colour && io::stdout().is_terminal(),
            colour_err: colour && io::stderr().is_terminal(),
        }
    }

    /// Whether data is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a bar may be drawn on standard error.
    pub(crate) fn may_draw(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Whether somebody can be asked.
    pub(crate) fn may_ask(&self) -> bool {
        !self.quiet && !self.json && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// A line of data.
    pub(crate) fn data(&self, line: impl Display) -> Result<(), CliError> {
        writeln!(io::stdout().lock(), "{line}").map_err(|_| CliError::OutputClosed)
    }

    /// Data without a line's end, such as a log.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|_| CliError::OutputClosed)
    }

    /// An answer as JSON.
    pub(crate) fn json(&self, value: &Value) -> Result<(), CliError> {
        self.data(format_args!("{value:#}"))
    }

    /// A line for people who watch; left out when quiet.
    pub(crate) fn note(&self, line: impl Display) {
        if !self.quiet {
            say(line);
        }
    }

    /// A prompt on standard error, without a line's end.
    pub(crate) fn prompt(&self, text: &str) {
        let mut err = io::stderr().lock();
        // Nobody can be told that standard error is closed.
        drop(write!(err, "{text}").and_then(|()| err.flush()));
    }

    /// An error with its causes and hint; never left out.
    pub(crate) fn error(&self, error: &CliError) {
        let mut line = format!("{} {error}", paint(self.colour_err, Tone::Bad, "error:"));
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !line.ends_with(&text) {
                line.push_str(&format!(": {text}"));
            }
            cause = inner.source();
        }
        say(line);
        if let Some(hint) = error.hint() {
            say(format_args!(
                "{} {hint}",
                paint(self.colour_err, Tone::Bold, "hint:")
            ));
        }
    }

    /// Text for standard output, set off.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.colour_out, tone, text)
    }

    /// A state, set off by whether it is good or bad.
    pub(crate) fn state(&self, status: &str) -> String {
        match status {
            "COMPLETED" | "SUCCEEDED" => self.tone(Tone::Good, status),
            "FAILED" | "LOST" => self.tone(Tone::Bad, status),
            "COMPLETED_WITH_ERRORS" | "CANCELED" | "SKIPPED" => self.tone(Tone::Warn, status),
            _ => status.to_owned(),
        }
    }
}

fn say(line: impl Display) {
    // Nobody can be told that standard error is closed.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    if !colour {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Bold => "1",
        Tone::Dim => "2",
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warn => "33",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_sets_off_and_never_carries_the_meaning() {
        assert_eq!(paint(false, Tone::Bad, "FAILED"), "FAILED");
        assert!(paint(true, Tone::Bad, "FAILED").contains("FAILED"));
    }
}
