//! Why a blob could not be loaded, and what follows from it.
//!
//! Owns the classification of load errors. Texts never contain the query or the password of an address: presigned addresses
//! carry their secret there.

use std::error::Error;

use fettle_model::{DocumentErrorClass, ErrorCategory, Stage};
use thiserror::Error as ThisError;

use super::BLOB_BYTES_MAX;
use crate::extract::{ExtractError, chain};

/// Longest piece of an address that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Why a blob could not be loaded.
#[derive(Debug, ThisError)]
pub enum LoadError {
    /// The address has the wrong form.
    #[error("the address `{address}` cannot be used: {reason}")]
    Malformed {
        /// The address, without secrets.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A file outside the allowed folders.
    #[error(
        "the file `{address}` is not below a folder that may be read ({roots}); move it there or allow its folder when \
         starting the server"
    )]
    OutsideRoots {
        /// The address.
        address: String,
        /// The folders.
        roots: String,
    },
    /// A host whose address is not public.
    #[error(
        "`{host}` leads to the address {ip}, which is not public; if it is meant to be read, add the host (or host:port) to \
         the allowed private hosts when starting the server"
    )]
    PrivateHost {
        /// The host.
        host: String,
        /// Its address.
        ip: String,
    },
    /// Nothing is there.
    #[error("there is nothing at `{address}`; check the address, and that it was not deleted")]
    Missing {
        /// The address.
        address: String,
    },
    /// A folder, a device or a pipe.
    #[error("`{address}` is not a regular file")]
    NotAFile {
        /// The address.
        address: String,
    },
    /// Reading is not permitted.
    #[error("reading `{address}` is not permitted; check its permissions or the credentials")]
    Denied {
        /// The address.
        address: String,
        /// What was answered, where there is more.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The server answered with an error.
    #[error("`{address}` answered with status {status}")]
    Status {
        /// The address.
        address: String,
        /// The HTTP status.
        status: u16,
    },
    /// One address leads to the next, on and on.
    #[error("`{address}` redirects more than {limit} times")]
    TooManyRedirects {
        /// The first address.
        address: String,
        /// How many are followed.
        limit: usize,
    },
    /// The blob is over the limit.
    #[error(
        "`{address}` has more than {limit_bytes} bytes, the most that is loaded; split it or make it smaller"
    )]
    TooLarge {
        /// The address.
        address: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// The blob store's object has another size than was recorded.
    #[error("`{address}` has {found_bytes} bytes instead of {expected_bytes}; upload it again")]
    WrongSize {
        /// The key.
        address: String,
        /// What was recorded.
        expected_bytes: u64,
        /// What is there.
        found_bytes: u64,
    },
    /// A connection failed or took too long.
    #[error("reading `{address}` failed")]
    Network {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk or the operating system failed.
    #[error("reading `{address}` failed")]
    Io {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The loader itself cannot be set up.
    #[error("cannot set up access to blobs")]
    Setup {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl LoadError {
    pub(super) fn malformed(address: &str, reason: impl Into<String>) -> Self {
        Self::Malformed {
            address: shown(address),
            reason: reason.into(),
        }
    }

    pub(super) fn missing(address: &str) -> Self {
        Self::Missing {
            address: shown(address),
        }
    }

    pub(super) fn too_large(address: &str) -> Self {
        Self::TooLarge {
            address: shown(address),
            limit_bytes: BLOB_BYTES_MAX,
        }
    }

    pub(super) fn network(address: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Network {
            address: shown(address),
            source: source.into(),
        }
    }

    pub(super) fn denied(address: &str, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Denied {
            address: shown(address),
            source,
        }
    }

    /// The error of an operation on a local file.
    pub(super) fn io(address: &str, error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Self::missing(address)
            }
            std::io::ErrorKind::PermissionDenied => Self::denied(address, Some(error.into())),
            _ => Self::Io {
                address: shown(address),
                source: error.into(),
            },
        }
    }

    /// Kind of error.
    #[must_use]
    pub fn category(&self) -> ErrorCategory {
        match self {
            Self::Malformed { .. } | Self::Missing { .. } | Self::NotAFile { .. } => {
                ErrorCategory::Validation
            }
            Self::WrongSize { .. } | Self::TooManyRedirects { .. } => ErrorCategory::Validation,
            Self::OutsideRoots { .. } | Self::PrivateHost { .. } | Self::Denied { .. } => {
                ErrorCategory::Authentication
            }
            Self::Status { status, .. } if !is_transient(*status) => ErrorCategory::Validation,
            Self::Status { .. } | Self::Network { .. } => ErrorCategory::Network,
            Self::TooLarge { .. } => ErrorCategory::Resource,
            Self::Io { .. } => ErrorCategory::Runtime,
            Self::Setup { .. } => ErrorCategory::Dependency,
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn class(&self) -> DocumentErrorClass {
        match self {
            Self::Network { .. } | Self::Io { .. } => DocumentErrorClass::Transient,
            Self::Status { status, .. } if is_transient(*status) => DocumentErrorClass::Transient,
            _ => DocumentErrorClass::Permanent,
        }
    }

    /// What happened, with its causes, and what to do.
    #[must_use]
    pub fn message(&self) -> String {
        let hint = match self.class() {
            DocumentErrorClass::Transient => "; it may work when tried again",
            DocumentErrorClass::Permanent | DocumentErrorClass::Resource => "",
        };
        format!("{}{hint}", chain(self))
    }

    /// The error of the row that needed the blob.
    #[must_use]
    pub fn into_extract_error(self) -> ExtractError {
        ExtractError {
            category: self.category(),
            class: self.class(),
            stage: Stage::Loading,
            message: self.message(),
            component: "blob_loader".to_owned(),
            traceback: None,
        }
    }
}

/// Answers after which the same request may succeed: too early, too many, server trouble.
fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// An address as it may be shown: without password, query and fragment, shortened.
pub(super) fn shown(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let without_secret = match path.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => path.to_owned(),
    };
    without_secret.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_addresses_are_not_shown() {
        let cases = [
            (
                "https://u:pw@h:1/a/b?X-Amz-Signature=s#f",
                "https://h:1/a/b",
            ),
            ("https://h", "https://h"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
            ("key/of/store", "key/of/store"),
        ];
        for (address, expected) in cases {
            assert_eq!(shown(address), expected);
        }
    }

    #[test]
    fn statuses_are_classified() {
        for (status, class) in [
            (503, DocumentErrorClass::Transient),
            (429, DocumentErrorClass::Transient),
            (400, DocumentErrorClass::Permanent),
        ] {
            let error = LoadError::Status {
                address: String::new(),
                status,
            };
            assert_eq!(error.class(), class, "{status}");
        }
    }
}
