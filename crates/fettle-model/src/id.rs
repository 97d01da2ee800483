//! Ids as newtypes. Random ids carry 120 bits of entropy, so they cannot be guessed; derived ids name what they are derived from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so ids can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The longest id that is accepted; Ray's submission ids are limited to this (docs/ray.md).
pub const ID_LENGTH_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError {
    /// What the id should have begun with.
    pub prefix: &'static str,
    /// The text that was given, shortened.
    pub given: String,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an id of the form `{}…`",
            self.given, self.prefix
        )
    }
}

impl std::error::Error for IdError {}

/// Encodes 15 bytes (120 bits) as 24 characters.
fn encode(bytes: &[u8; 15]) -> String {
    let mut out = String::with_capacity(24);
    for chunk in bytes.chunks_exact(5) {
        let mut value = chunk
            .iter()
            .fold(0_u64, |acc, byte| (acc << 8) | u64::from(*byte));
        let mut digits = [0_u8; 8];
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(value & 31) as usize];
            value >>= 5;
        }
        out.extend(digits.iter().map(|digit| char::from(*digit)));
    }
    out
}

/// Ids are safe as file names, URL segments and Ray submission ids.
fn is_safe(text: &str) -> bool {
    text.len() <= ID_LENGTH_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// An id from 120 random (or, for derived ids, hashed) bits.
            #[must_use]
            pub fn from_entropy(bytes: [u8; 15]) -> Self {
                Self(format!("{}{}", Self::PREFIX, encode(&bytes)))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let well_formed = text.len() > Self::PREFIX.len()
                    && text.starts_with(Self::PREFIX)
                    && is_safe(text);
                if well_formed {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { prefix: Self::PREFIX, given: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A tenant's room.
    NamespaceId, "ns_"
);
id!(
    /// A named set of source objects.
    BucketId, "bkt_"
);
id!(
    /// One source object.
    ObjectId, "obj_"
);
id!(
    /// One blob of an object.
    BlobId, "blob_"
);
id!(
    /// A target of documents.
    CollectionId, "col_"
);
id!(
    /// A document; a function of (collection, source row, part), so writing it twice is harmless.
    DocumentId, "doc_"
);
id!(
    /// A batch.
    BatchId, "btch_"
);
id!(
    /// The work of one extractor in one tier.
    JobId, "job_"
);
id!(
    /// A long operation that a client can poll.
    TaskId, "task_"
);
id!(
    /// An API key (never the secret).
    ApiKeyId, "key_"
);
id!(
    /// The batches of one bulk submission.
    BatchGroupId, "grp_"
);
id!(
    /// A registered plugin version.
    PluginId, "plg_"
);
id!(
    /// A file that a client sends.
    UploadId, "upl_"
);
id!(
    /// A webhook.
    WebhookId, "wh_"
);
id!(
    /// One event on its way to one receiver.
    DeliveryId, "dlv_"
);
id!(
    /// One execution of a job: the job's id, `-a`, and the attempt's number. It is the submission id on the backend.
    AttemptId, "job_"
);

impl DocumentId {
    /// The id of part `part` of what a source becomes in a collection.
    #[must_use]
    pub fn of_part(collection: &CollectionId, source_id: &str, part: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(collection.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(source_id.as_bytes());
        hasher.update(&[0]);
        hasher.update(part.to_string().as_bytes());
        let mut bits = [0; 15];
        bits.copy_from_slice(&hasher.finalize().as_bytes()[..15]);
        Self::from_entropy(bits)
    }
}

impl AttemptId {
    /// The id of attempt `number` (1-based) of `job`.
    #[must_use]
    pub fn of(job: &JobId, number: u32) -> Self {
        Self(format!("{job}-a{number}"))
    }

    /// The job this attempt belongs to, and the attempt's number; `None` for an id of another form.
    #[must_use]
    pub fn split(&self) -> Option<(JobId, u32)> {
        let (job, number) = self.0.rsplit_once("-a")?;
        Some((job.parse().ok()?, number.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_json() {
        let id = BatchId::from_entropy([7; 15]);
        assert_eq!(id.as_str().len(), "btch_".len() + 24);
        assert_eq!(id.as_str().parse::<BatchId>().as_ref(), Ok(&id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<BatchId>(&json).unwrap(), id);
    }

    #[test]
    fn a_text_with_another_prefix_or_unsafe_characters_is_refused() {
        for bad in ["", "btch_", "obj_123", "btch_../x", "btch_a b", "btch_ü"] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_attempt_id_names_its_job_and_number() {
        let job = JobId::from_entropy([1; 15]);
        let attempt = AttemptId::of(&job, 12);
        assert_eq!(attempt.split(), Some((job, 12)));
    }
}
