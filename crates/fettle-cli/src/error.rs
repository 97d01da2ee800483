//! What can go wrong in a command, its exit code and what to do about it.

use std::io;
use std::path::PathBuf;

use fettle_client::{ApiError, ClientError};
use thiserror::Error;

use crate::exit::Code;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The server could not be reached or answered with an error.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The answer lacks something that the command needs.
    #[error("the server's answer lacks `{field}`")]
    Answer {
        /// What is missing.
        field: &'static str,
    },
    /// A file or folder could not be used.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// What was being done, such as `read`.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something on this machine is not as it must be.
    #[error("{message}")]
    Local {
        /// What.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// What was asked for cannot be carried out.
    #[error("{message}")]
    Request {
        /// Why not.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// The exit code.
        code: Code,
    },
    /// Some claim of the demo does not hold.
    #[error("the demo did not go as it should: {claim}")]
    Claim {
        /// The claim that does not hold.
        claim: String,
    },
    /// Standard output is gone; nobody reads on.
    #[error("standard output was closed")]
    OutputClosed,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// Something on this machine, without a hint.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::Local {
            message: message.into(),
            hint: None,
        }
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Server(error) => match error.api() {
                Some(answer) => Code::of_status(answer.status),
                None => of_client(error),
            },
            Self::Answer { .. } => Code::ServerFailed,
            Self::File { .. } | Self::Local { .. } => Code::Local,
            Self::Request { code, .. } => *code,
            Self::Claim { .. } => Code::BatchFailed,
            Self::OutputClosed => Code::Ok,
            Self::Interrupted => Code::Interrupted,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.api().and_then(of_answer),
            Self::Local { hint, .. } | Self::Request { hint, .. } => hint.clone(),
            Self::Answer { .. } => Some(
                "client and server may be of different versions; compare `fettle --version`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn of_client(error: &ClientError) -> Code {
    match error {
        ClientError::BadUrl { .. } | ClientError::BadHeader { .. } => Code::Usage,
        ClientError::Build { .. } | ClientError::Encode { .. } => Code::Local,
        ClientError::Foreign { .. } | ClientError::Decode { .. } => Code::ServerFailed,
        _ => Code::Unreachable,
    }
}

/// The server's own hint, or one that follows from the status.
fn of_answer(answer: &ApiError) -> Option<String> {
    if let Some(hint) = answer.hint() {
        return Some(hint.to_owned());
    }
    let hint = match answer.status {
        401 => "set FETTLE_API_KEY to the key that `fettle serve` printed on its first start",
        403 => "use a key that may do this",
        404 => "`fettle batch ls` lists what is there; `--namespace` chooses whose",
        409 => "`fettle batch get` shows the present state",
        413 => "send less at once: at most 100 objects a call",
        429 | 503 => "try again in a moment",
        501 => "this is not built yet",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, details: serde_json::Value) -> CliError {
        CliError::Server(ClientError::Api(Box::new(ApiError {
            status,
            error_type: "SomeError".to_owned(),
            message: "no".to_owned(),
            details,
            request_id: None,
        })))
    }

    #[test]
    fn the_servers_own_hint_wins() {
        assert_eq!(
            answer(404, json!({"hint": "look there"})).hint().as_deref(),
            Some("look there")
        );
        assert!(
            answer(404, json!({}))
                .hint()
                .is_some_and(|hint| hint.contains("batch ls"))
        );
    }

    #[test]
    fn a_server_that_is_away_has_its_own_code() {
        let error = CliError::Server(ClientError::BadUrl {
            url: "x".to_owned(),
        });
        assert_eq!(error.code(), Code::Usage);
        assert_eq!(answer(409, json!({})).code(), Code::Conflict);
    }
}
