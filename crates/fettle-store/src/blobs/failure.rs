//! What a failure of the backend means.

use std::error::Error;
use std::io::ErrorKind;

use fettle_ports::BlobError;

/// What S3 servers say when their disks are full (MinIO's code, and the HTTP status that others use).
const FULL_SIGNS: [&str; 2] = ["XMinioStorageFull", "507 Insufficient Storage"];

/// The failure in the port's words.
pub(super) fn blob_error(key: &str, error: &object_store::Error) -> BlobError {
    let key = key.to_owned();
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound { key },
        other if is_full(other) => BlobError::Full { key },
        other => BlobError::Unavailable {
            key,
            message: describe(other),
        },
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_full(error: &object_store::Error) -> bool {
    chain(error).any(|link| match link.downcast_ref::<std::io::Error>() {
        Some(io) => matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        None => {
            let text = link.to_string();
            FULL_SIGNS.iter().any(|sign| text.contains(sign))
        }
    })
}

/// The messages of the chain in one line, without those that the one before has repeated already.
fn describe(error: &object_store::Error) -> String {
    let mut text = String::new();
    for link in chain(error).map(ToString::to_string) {
        if text.is_empty() {
            text = link;
        } else if !text.contains(&link) {
            text = format!("{text}: {link}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic {
            store: "test",
            source: source.into(),
        }
    }

    #[test]
    fn a_full_disk_or_server_is_told_apart_from_an_outage() {
        let full = generic(std::io::Error::from(ErrorKind::StorageFull));
        assert!(matches!(blob_error("k", &full), BlobError::Full { .. }));
        let quota = generic(std::io::Error::from(ErrorKind::QuotaExceeded));
        assert!(matches!(blob_error("k", &quota), BlobError::Full { .. }));
        let minio = generic("<Error><Code>XMinioStorageFull</Code></Error>");
        assert!(matches!(blob_error("k", &minio), BlobError::Full { .. }));
        let other = generic(std::io::Error::from(ErrorKind::ConnectionRefused));
        assert!(matches!(
            blob_error("k", &other),
            BlobError::Unavailable { .. }
        ));
    }
}
