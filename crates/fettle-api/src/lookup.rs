//! Finding a tenant's records by id or name, and checking the names of new ones.
//!
//! Owns the rule that every look-up names the tenant. It must not change anything.

use fettle_core::Batch;
use fettle_model::{BatchId, NamespaceId};
use fettle_ports::{BatchRecord, BucketRecord, CollectionRecord, Resource, StoreExt};

use crate::error::ApiError;
use crate::state::ApiState;

/// Records are read this many at a time where all are needed.
pub(crate) const SCAN_PAGE: u64 = 500;

/// A record of the tenant by id or name.
pub(crate) async fn find<R: Resource>(
    state: &ApiState,
    namespace: &NamespaceId,
    id_or_name: &str,
) -> Result<R, ApiError> {
    let found: Option<R> = state
        .control()
        .store()
        .find(Some(namespace), id_or_name)
        .await?;
    found.ok_or_else(|| ApiError::not_found(R::KIND.as_str(), id_or_name))
}

/// A bucket of the tenant.
pub(crate) async fn bucket(
    state: &ApiState,
    namespace: &NamespaceId,
    id_or_name: &str,
) -> Result<BucketRecord, ApiError> {
    find(state, namespace, id_or_name).await
}

/// A collection of the tenant.
pub(crate) async fn collection(
    state: &ApiState,
    namespace: &NamespaceId,
    id_or_name: &str,
) -> Result<CollectionRecord, ApiError> {
    find(state, namespace, id_or_name).await
}

/// All records of a kind of the tenant.
pub(crate) async fn all<R: Resource>(
    state: &ApiState,
    namespace: &NamespaceId,
) -> Result<Vec<R>, ApiError> {
    Ok(state.control().store().list_all(namespace).await?)
}

/// A batch of the tenant; with a bucket, only of that bucket.
pub(crate) async fn batch(
    state: &ApiState,
    namespace: &NamespaceId,
    bucket_id_or_name: Option<&str>,
    id: &str,
) -> Result<(BatchRecord, Option<Batch>), ApiError> {
    let no_batch = || ApiError::not_found("batch", id);
    let bucket = match bucket_id_or_name {
        Some(name) => Some(bucket(state, namespace, name).await?.bucket_id),
        None => None,
    };
    let batch_id: BatchId = id.parse().map_err(|_no_id| no_batch())?;
    let found = state
        .control()
        .store()
        .get_batch(Some(namespace), &batch_id)
        .await?;
    let (record, run) = found.ok_or_else(no_batch)?;
    match bucket {
        Some(bucket) if bucket != record.bucket_id => Err(no_batch()),
        _ => Ok((record, run)),
    }
}

/// Checks the name of a new or renamed record.
pub(crate) fn check_name(
    field: &str,
    name: &str,
    length_min: usize,
    length_max: usize,
) -> Result<(), ApiError> {
    let length = name.chars().count();
    if !(length_min..=length_max).contains(&length) {
        return Err(ApiError::invalid(
            &[field],
            format!("has {length} characters; it must have from {length_min} to {length_max}"),
        ));
    }
    if name.trim() != name || name.chars().any(|c| c.is_control() || c == '/') {
        return Err(ApiError::invalid(
            &[field],
            "must not begin or end with a space, nor have `/` or control characters: names stand in paths",
        ));
    }
    Ok(())
}

/// A value of the contract that Fettle takes only as it is by default; any other would ask for something that does not happen.
pub(crate) fn only<T: PartialEq + std::fmt::Display>(
    field: &str,
    given: Option<T>,
    taken: &T,
) -> Result<(), ApiError> {
    match given {
        Some(value) if value != *taken => Err(ApiError::invalid(
            &[field],
            format!("`{value}` is not supported; leave it out or send `{taken}`"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_paths_are_refused() {
        for bad in ["", "a/b", " a", "a\n", &"x".repeat(101)] {
            assert!(check_name("bucket_name", bad, 1, 100).is_err(), "{bad:?}");
        }
        assert!(check_name("bucket_name", "müller & co. (2)", 1, 100).is_ok());
    }

    #[test]
    fn only_the_default_of_an_unsupported_key_is_taken() {
        assert!(only("stream", None, &false).is_ok());
        assert!(only("stream", Some(false), &false).is_ok());
        assert!(only("stream", Some(true), &false).is_err());
    }
}
