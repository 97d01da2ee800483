//! Which healing policy is in force for a batch: the nearest of batch, bucket and namespace that has one.

use std::sync::PoisonError;

use fettle_core::Event;
use fettle_model::{BatchId, HealingPolicy, NamespaceId};
use fettle_ports::{BatchRecord, BucketRecord, NamespaceRecord, StoreError, StoreExt};

use crate::control::{Control, Shared};
use crate::error::RequestError;
use crate::orchestrator::{is_settled, tell};

impl Control {
    /// Puts changed policies in force for the batches of a tenant that are not over.
    pub async fn policies_changed(&self, namespace: &NamespaceId) -> Result<(), RequestError> {
        let batches: Vec<BatchId> = {
            let active = self.shared.active.read();
            let active = active.unwrap_or_else(PoisonError::into_inner);
            let own = active.values().filter(|b| b.namespace_id == *namespace);
            own.map(|batch| batch.id.clone()).collect()
        };
        for batch in batches {
            put_in_force(&self.shared, &batch).await?;
        }
        Ok(())
    }
}

/// The policy of a batch.
pub(crate) async fn of(shared: &Shared, record: &BatchRecord) -> Result<HealingPolicy, StoreError> {
    if let Some(own) = &record.healing {
        return Ok(own.clone());
    }
    let store = &shared.ports.store;
    let namespace = &record.namespace_id;
    let bucket = store
        .find::<BucketRecord>(Some(namespace), record.bucket_id.as_str())
        .await?;
    if let Some(healing) = bucket.and_then(|bucket| bucket.healing) {
        return Ok(healing);
    }
    let namespace = store
        .find::<NamespaceRecord>(None, namespace.as_str())
        .await?;
    Ok(namespace
        .and_then(|namespace| namespace.healing)
        .unwrap_or_default())
}

/// Tells the orchestrator of the batch's policy where it knows another one.
pub(crate) async fn put_in_force(shared: &Shared, id: &BatchId) -> Result<(), RequestError> {
    let Some((record, Some(batch))) = shared.ports.store.get_batch(None, id).await? else {
        return Ok(());
    };
    let policy = of(shared, &record).await?;
    if batch.healing == policy {
        return Ok(());
    }
    match tell(shared, id, Event::PolicySet { policy }).await {
        // Somebody else has told it meanwhile.
        Err(error) if is_settled(&error) => Ok(()),
        other => other.map(drop),
    }
}
