//! Exit codes. docs/exit-codes.md explains them; a test compares the two.

use std::process::ExitCode;

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// The batch ended FAILED or CANCELED, or the demo did not go as it should.
    BatchFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The server knows no such thing.
    NotFound = 3,
    /// The thing's present state does not allow it.
    Conflict = 4,
    /// No server answers.
    Unreachable = 5,
    /// The API key is missing, wrong or not allowed to.
    NotAllowed = 6,
    /// The server refused the request as wrong.
    Refused = 7,
    /// The server failed, is overloaded or lacks the feature.
    ServerFailed = 8,
    /// Something on this machine: a file that cannot be read, a server that does not start.
    Local = 9,
    /// The batch ran to its end and some documents failed.
    CompletedWithErrors = 10,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::BatchFailed,
        Self::Usage,
        Self::NotFound,
        Self::Conflict,
        Self::Unreachable,
        Self::NotAllowed,
        Self::Refused,
        Self::ServerFailed,
        Self::Local,
        Self::CompletedWithErrors,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code for an answer's HTTP status.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::NotAllowed,
            404 | 410 => Self::NotFound,
            409 => Self::Conflict,
            429 | 500..=599 => Self::ServerFailed,
            _ => Self::Refused,
        }
    }

    /// The code for the state in which a batch ended.
    pub(crate) fn of_batch(status: &str) -> Self {
        match status {
            "COMPLETED" => Self::Ok,
            "COMPLETED_WITH_ERRORS" => Self::CompletedWithErrors,
            _ => Self::BatchFailed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_on_the_page() {
        let page = include_str!("../../../docs/exit-codes.md");
        for code in Code::ALL {
            assert!(page.contains(&format!("| {} |", code.number())), "{code:?}");
        }
        let rows = page
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| code"))
            .count();
        assert_eq!(rows, Code::ALL.len());
    }

    #[test]
    fn codes_follow_from_statuses_and_states() {
        assert_eq!(Code::of_status(404), Code::NotFound);
        assert_eq!(Code::of_status(422), Code::Refused);
        assert_eq!(Code::of_status(501), Code::ServerFailed);
        assert_eq!(Code::of_batch("COMPLETED"), Code::Ok);
        assert_eq!(
            Code::of_batch("COMPLETED_WITH_ERRORS"),
            Code::CompletedWithErrors
        );
        assert_eq!(Code::of_batch("CANCELED"), Code::BatchFailed);
    }
}
