//! The first start: the default namespace and the admin key.
//!
//! Owns that there is exactly one bootstrap key, made at random or set by the environment. It must not print it.

use fettle_model::{ApiKeyId, NamespaceId};
use fettle_ports::{
    ApiKeyRecord, Clock, Entropy, NamespaceRecord, ResourceKind, Store, StoreError, StoreExt,
};

use super::{Auth, DEFAULT_NAMESPACE, hash_of};

/// A secret that somebody chose must have at least this many characters: shorter ones can be guessed.
pub(super) const CHOSEN_SECRET_LENGTH_MIN: usize = 16;
/// Characters of a secret that are kept to recognise it by.
const PREFIX_LENGTH: usize = 7;
/// The label of the key that the first start made.
const FIRST_START: &str = "first start";
/// The label of the key that the environment set.
const ENVIRONMENT: &str = "environment";
/// The label of a key that one server has for its life.
const PASSING: &str = "one server's life";

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The chosen secret is too short.
    #[error(
        "FETTLE_API_KEY has {length} characters; it needs at least {CHOSEN_SECRET_LENGTH_MIN}, such as the output of `openssl rand -hex 24`"
    )]
    TooShort {
        /// How long it is.
        length: usize,
    },
    /// The chosen secret cannot stand in a header.
    #[error("FETTLE_API_KEY must be printable ASCII without spaces")]
    NotPrintable,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the admin key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminKey<'a> {
    /// The first start makes it.
    Made,
    /// Somebody chose it; it takes the place of the key of an earlier start.
    Chosen(&'a str),
    /// It is for this server's life only, beside the key that there is; the next start removes it.
    Passing(&'a str),
}

/// What the first start made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The secret of a key that was made now; it can never be shown again.
    pub new_key: Option<String>,
    /// Whether the admin key is the one that the first start made and nobody chose.
    pub is_default: bool,
}

impl Auth {
    /// Makes the default namespace and the admin key where they are missing.
    ///
    /// # Errors
    /// When the key is no good secret, or the store failed.
    pub async fn bootstrap(
        store: &dyn Store,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
        key: AdminKey<'_>,
    ) -> Result<Bootstrap, AuthError> {
        let start = Start {
            store,
            clock,
            entropy,
        };
        let namespace = start.default_namespace().await?;
        let (passed, present) = start.admin_keys().await?;
        start.remove(&passed).await?;
        match key {
            AdminKey::Made => start.made_key(&namespace, &present).await,
            AdminKey::Passing(secret) => {
                start.set_key(&namespace, secret, PASSING).await?;
                Ok(Bootstrap {
                    new_key: None,
                    is_default: present.iter().any(|key| key.is_default),
                })
            }
            AdminKey::Chosen(secret) => {
                start.set_key(&namespace, secret, ENVIRONMENT).await?;
                let hash = hash_of(secret);
                let old = present.into_iter().filter(|key| key.secret_hash != hash);
                start.remove(&old.collect::<Vec<_>>()).await?;
                Ok(Bootstrap {
                    new_key: None,
                    is_default: false,
                })
            }
        }
    }
}

fn check_secret(secret: &str) -> Result<(), AuthError> {
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AuthError::NotPrintable);
    }
    match secret.len() {
        length if length < CHOSEN_SECRET_LENGTH_MIN => Err(AuthError::TooShort { length }),
        _ => Ok(()),
    }
}

struct Start<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
}

impl Start<'_> {
    async fn default_namespace(&self) -> Result<NamespaceId, StoreError> {
        let found: Option<NamespaceRecord> = self.store.find(None, DEFAULT_NAMESPACE).await?;
        if let Some(found) = found {
            return Ok(found.namespace_id);
        }
        let now = self.clock.now();
        let record = NamespaceRecord {
            namespace_id: NamespaceId::from_entropy(self.entropy.bytes15()),
            namespace_name: DEFAULT_NAMESPACE.to_owned(),
            description: Some("For requests without an X-Namespace header.".to_owned()),
            owner: None,
            healing: None,
            created_at: now,
            updated_at: now,
        };
        self.store.insert(&record).await?;
        Ok(record.namespace_id)
    }

    /// Admin keys of earlier starts: those that were for one server's life, and those that last.
    async fn admin_keys(&self) -> Result<(Vec<ApiKeyRecord>, Vec<ApiKeyRecord>), StoreError> {
        let keys: Vec<ApiKeyRecord> = self.store.search_all(None, None).await?;
        let own = [FIRST_START, ENVIRONMENT, PASSING];
        let keys = keys.into_iter();
        let keys = keys.filter(|key| key.is_admin && own.contains(&key.label.as_str()));
        Ok(keys.partition(|key| key.label == PASSING))
    }

    async fn remove(&self, keys: &[ApiKeyRecord]) -> Result<(), StoreError> {
        for key in keys {
            self.store
                .delete_resource(ResourceKind::ApiKey, &key.namespace_id, key.key_id.as_str())
                .await?;
        }
        Ok(())
    }

    /// Makes a key of a secret that somebody chose, unless there is one.
    async fn set_key(
        &self,
        namespace: &NamespaceId,
        secret: &str,
        label: &str,
    ) -> Result<(), AuthError> {
        check_secret(secret)?;
        let known: Option<ApiKeyRecord> = self.store.find(None, &hash_of(secret)).await?;
        match known {
            Some(_) => Ok(()),
            None => Ok(self.add_key(namespace, secret, label).await?),
        }
    }

    async fn made_key(
        &self,
        namespace: &NamespaceId,
        present: &[ApiKeyRecord],
    ) -> Result<Bootstrap, AuthError> {
        if !present.is_empty() {
            let is_default = present.iter().any(|key| key.is_default);
            return Ok(Bootstrap {
                new_key: None,
                is_default,
            });
        }
        let secret = self.secret();
        self.add_key(namespace, &secret, FIRST_START).await?;
        Ok(Bootstrap {
            new_key: Some(secret),
            is_default: true,
        })
    }

    /// `fk_` and 240 random bits.
    fn secret(&self) -> String {
        let halves = [self.entropy.bytes15(), self.entropy.bytes15()];
        let digits: String = halves
            .iter()
            .flatten()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("fk_{digits}")
    }

    async fn add_key(
        &self,
        namespace: &NamespaceId,
        secret: &str,
        label: &str,
    ) -> Result<(), StoreError> {
        let record = ApiKeyRecord {
            namespace_id: namespace.clone(),
            key_id: ApiKeyId::from_entropy(self.entropy.bytes15()),
            secret_hash: hash_of(secret),
            prefix: secret.chars().take(PREFIX_LENGTH).collect(),
            label: label.to_owned(),
            is_admin: true,
            is_default: label == FIRST_START,
            user: None,
            created_at: self.clock.now(),
        };
        self.store.insert(&record).await
    }
}
