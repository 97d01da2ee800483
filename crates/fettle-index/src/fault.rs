//! What can go wrong inside a collection, before it is told to the caller with the collection's name.

use fettle_model::CollectionId;
use fettle_ports::IndexError;
use qdrant_edge::OperationError;

/// Why an operation on a collection failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    /// The collection has no directory.
    #[error("no such collection")]
    NoCollection,
    /// A vector does not fit.
    #[error("vector `{name}`: {message}")]
    BadVector { name: String, message: String },
    /// A cursor that was not made here.
    #[error("a foreign cursor")]
    BadCursor,
    /// No space is left, or too little.
    #[error("no space left")]
    Full,
    /// The library or the disk failed.
    #[error("{0}")]
    Broken(String),
}

impl Fault {
    /// A failure of the disk while `doing` something.
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            Self::Full
        } else {
            Self::Broken(format!("failed to {doing}: {error}"))
        }
    }

    /// A failure that the library told in words. It passes the disk's errors on as text only.
    pub(crate) fn told(message: String) -> Self {
        if message.contains("No space left on device") || message.contains("StorageFull") {
            Self::Full
        } else {
            Self::Broken(message)
        }
    }

    /// Whether the shard can no longer be trusted and must be opened again.
    pub(crate) fn spoils_shard(&self) -> bool {
        matches!(self, Self::Full | Self::Broken(_))
    }

    /// The fault as the port tells it.
    pub(crate) fn on(self, collection: &CollectionId) -> IndexError {
        let collection = collection.clone();
        match self {
            Self::NoCollection => IndexError::NoCollection { collection },
            Self::BadVector { name, message } => IndexError::BadVector {
                collection,
                name,
                message,
            },
            Self::BadCursor => IndexError::BadCursor,
            Self::Full => IndexError::Full { collection },
            Self::Broken(message) => IndexError::Unavailable {
                collection,
                message,
            },
        }
    }
}

impl From<OperationError> for Fault {
    fn from(error: OperationError) -> Self {
        Self::told(error.to_string())
    }
}
