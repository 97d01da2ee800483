//! Files for drivers and workers on machines that do not see this one's: blobs, plugin archives, the sentence model.
//!
//! Owns what an attempt may read and write: its own tenant's, and nothing else.

use bytes::Bytes;
use fettle_model::AttemptId;
use fettle_ports::{BucketRecord, StoreExt};

use crate::control::Control;
use crate::error::RequestError;
use crate::fence::LiveAttempt;

/// The files of a sentence model.
const MODEL_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

impl Control {
    /// The content of a blob that the attempt may read.
    pub async fn attempt_blob(
        &self,
        attempt: &AttemptId,
        key: &str,
    ) -> Result<Bytes, RequestError> {
        if !self.may_read(&self.live_attempt(attempt)?, key).await? {
            return Err(no_such("blob", key));
        }
        Ok(self.blobs().get(key).await?)
    }

    /// Stores an artifact of the attempt, replacing what was there.
    pub async fn put_attempt_blob(
        &self,
        attempt: &AttemptId,
        key: &str,
        bytes: Bytes,
    ) -> Result<(), RequestError> {
        let namespace = &self.live_attempt(attempt)?.fence.namespace_id;
        if !key.starts_with(&format!("artifacts/{namespace}/")) {
            return Err(no_such("blob", key));
        }
        self.blobs().put(key, bytes).await?;
        Ok(())
    }

    /// A file of the sentence model.
    pub async fn attempt_model(
        &self,
        attempt: &AttemptId,
        file: &str,
    ) -> Result<Bytes, RequestError> {
        self.live_attempt(attempt)?;
        let folder = self.config().model_dir.as_ref();
        let folder = folder.filter(|_| MODEL_FILES.contains(&file));
        let path = folder
            .ok_or_else(|| no_such("model file", file))?
            .join(file);
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        match read {
            Ok(Ok(bytes)) => Ok(Bytes::from(bytes)),
            Ok(Err(_)) | Err(_) => Err(no_such("model file", file)),
        }
    }

    fn live_attempt(&self, attempt: &AttemptId) -> Result<LiveAttempt, RequestError> {
        let live = self.shared.fences.get(attempt);
        live.ok_or_else(|| no_such("attempt", attempt.as_str()))
    }

    async fn may_read(&self, live: &LiveAttempt, key: &str) -> Result<bool, RequestError> {
        let namespace = &live.fence.namespace_id;
        let mut parts = key.split('/');
        match (parts.next(), parts.next()) {
            (Some("manifests" | "artifacts"), Some(owner)) => Ok(owner == namespace.as_str()),
            (Some("objects"), Some(bucket)) => {
                let found = self.store().find::<BucketRecord>(Some(namespace), bucket);
                Ok(found
                    .await?
                    .is_some_and(|found| found.bucket_id.as_str() == bucket))
            }
            // Named by the hash of its content: whoever knows the name knows the content.
            (Some("plugins"), Some(_)) => Ok(true),
            _ => Ok(false),
        }
    }
}

fn no_such(kind: &'static str, id: &str) -> RequestError {
    RequestError::NoSuch {
        kind,
        id: id.to_owned(),
    }
}
