//! How the demo is told: numbered steps with their times, or one JSON object at the end.

use std::fmt::Display;
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Printer, Tone};
use crate::text;

/// The teller.
#[derive(Debug)]
pub(super) struct Story {
    printer: Printer,
    began: Instant,
    step: Option<(String, Instant)>,
    times: Vec<Value>,
}

impl Story {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            began: Instant::now(),
            step: None,
            times: Vec::new(),
        }
    }

    pub(super) fn printer(&self) -> &Printer {
        &self.printer
    }

    /// Whether the story is told; with `--json` only its end is printed.
    pub(super) fn is_told(&self) -> bool {
        !self.printer.is_json()
    }

    /// What is going to happen.
    pub(super) fn open(&self) -> Result<(), CliError> {
        self.line("Fettle runs a batch of real files through two tiers. The second gets less memory than its model needs.")?;
        self.line("The kernel kills it. Fettle says why, on what evidence, and which call mends it; the demo makes that call.")
    }

    /// Ends the step before and begins another.
    pub(super) fn step(&mut self, title: &str) -> Result<(), CliError> {
        self.end_step()?;
        let number = self.times.len() + 1;
        self.step = Some((title.to_owned(), Instant::now()));
        self.line("")?;
        self.line(self.printer.tone(Tone::Bold, &format!("{number}. {title}")))
    }

    fn end_step(&mut self) -> Result<(), CliError> {
        let Some((title, since)) = self.step.take() else {
            return Ok(());
        };
        let seconds = since.elapsed().as_secs_f64();
        self.times
            .push(json!({ "step": title, "seconds": seconds }));
        self.line(
            self.printer
                .tone(Tone::Dim, &format!("   ({})", text::duration(seconds))),
        )
    }

    /// A line of the story.
    pub(super) fn line(&self, line: impl Display) -> Result<(), CliError> {
        if self.is_told() {
            self.printer.data(line)
        } else {
            Ok(())
        }
    }

    /// The end, with the time of each step.
    pub(super) fn close(mut self) -> Result<(), CliError> {
        self.end_step()?;
        let seconds = self.began.elapsed().as_secs_f64();
        if !self.is_told() {
            return self
                .printer
                .json(&json!({ "held": true, "seconds": seconds, "steps": self.times }));
        }
        self.line("")?;
        self.line(format_args!(
            "every claim held; {} in all",
            text::duration(seconds)
        ))
    }
}
