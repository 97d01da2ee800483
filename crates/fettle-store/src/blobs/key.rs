//! What a key may look like, and where it lies in the store.

use fettle_ports::BlobError;
use object_store::path::Path as StorePath;

/// The longest key in bytes with its prefix: S3's limit.
const KEY_LENGTH_MAX: usize = 1024;

/// The longest segment in bytes: 255 is the limit of the usual file systems, less what a file in the making adds to its name.
const SEGMENT_LENGTH_MAX: usize = 240;

/// The keys below an optional prefix.
#[derive(Debug)]
pub(super) struct KeySpace {
    prefix: Option<StorePath>,
}

impl KeySpace {
    /// Keys below `prefix`; an empty one means the whole store. `None`: the prefix itself is not a key.
    pub(super) fn below(prefix: &str) -> Option<Self> {
        if prefix.is_empty() {
            return Some(Self { prefix: None });
        }
        let path = is_key(prefix).then(|| StorePath::from(prefix))?;
        Some(Self { prefix: Some(path) })
    }

    /// The prefix, where there is one.
    pub(super) fn prefix(&self) -> Option<&StorePath> {
        self.prefix.as_ref()
    }

    /// Where `key` lies.
    pub(super) fn path(&self, key: &str) -> Result<StorePath, BlobError> {
        let full = match &self.prefix {
            Some(prefix) => format!("{prefix}/{key}"),
            None => key.to_owned(),
        };
        if is_key(key) && full.len() <= KEY_LENGTH_MAX {
            Ok(StorePath::from(full))
        } else {
            Err(BlobError::BadKey {
                key: key.chars().take(KEY_LENGTH_MAX).collect(),
            })
        }
    }
}

fn is_key(text: &str) -> bool {
    text.len() <= KEY_LENGTH_MAX && text.split('/').all(is_segment)
}

fn is_segment(segment: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !segment.is_empty()
        && segment.len() <= SEGMENT_LENGTH_MAX
        && segment != "."
        && segment != ".."
        && segment.bytes().all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_relative_path_of_safe_segments() {
        let space = KeySpace::below("").unwrap();
        for good in [
            "a",
            "manifests/btch_1/t0/job_x.parquet",
            "a.b/..c/-_",
            &"x".repeat(240),
        ] {
            assert_eq!(space.path(good).unwrap().as_ref(), good);
        }
        let long = "x".repeat(241);
        let deep = vec!["x"; 600].join("/");
        let bad = [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a b", "a#1", "a%2e",
            "ä", "a\\b", "a\0b", "a\n", &long, &deep,
        ];
        for key in bad {
            let error = space.path(key).unwrap_err();
            assert!(matches!(error, BlobError::BadKey { .. }), "{key:?}");
        }
    }

    #[test]
    fn keys_lie_below_the_prefix() {
        let space = KeySpace::below("team/fettle").unwrap();
        assert_eq!(space.path("a/b").unwrap().as_ref(), "team/fettle/a/b");
        assert!(space.path("../b").is_err());
        assert!(KeySpace::below("team/../x").is_none());
    }
}
