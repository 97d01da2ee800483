//! The loop: hands events over, then tries what is due, a few to each receiver at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fettle_model::{DeliveryId, UnixMillis};
use fettle_outbound::Guard;
use fettle_ports::{
    Clock, DeliveryAttempt, DeliveryRecord, DeliveryStatus, Entropy, Store, StoreError,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::hand_over::hand_over;
use crate::schedule::next_attempt;
use crate::send::{Outcome, attempt, guard};

/// How often the store is asked for events and due deliveries: two reads of an index, and nobody waits longer than this for
/// the news.
const TICK: Duration = Duration::from_millis(250);
/// Deliveries on their way at a time.
const IN_FLIGHT_MAX: usize = 32;
/// Deliveries on their way to one receiver, so that a slow one leaves room for the others.
const PER_TARGET_MAX: u64 = 4;
/// How long deliveries that are over stay readable: a week.
const KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;
/// How often old deliveries are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// How long an ending server waits for what is on its way; what is cut off is sent again at the next start.
const GRACE: Duration = Duration::from_secs(3);

/// What webhooks stand on.
#[derive(Clone)]
pub struct WebhookPorts {
    /// Events, deliveries, webhooks.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Settings of webhooks.
#[derive(Clone)]
pub struct WebhookSettings {
    /// `host` or `host:port` that may be told although its address is private.
    pub allowed_hosts: Vec<String>,
    /// From which the secrets of batches' own addresses are derived.
    pub server_secret: [u8; 32],
}

/// The running loop.
pub struct Webhooks {
    stopping: CancellationToken,
    task: JoinHandle<()>,
}

impl Webhooks {
    /// Starts the loop.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(ports: WebhookPorts, settings: WebhookSettings) -> Result<Self, reqwest::Error> {
        let shared = Arc::new(Shared {
            guard: guard(&settings)?,
            ports,
            settings,
        });
        let stopping = CancellationToken::new();
        let task = tokio::spawn(run(shared, stopping.clone()));
        Ok(Self { stopping, task })
    }

    /// Ends the loop.
    pub async fn stop(self) {
        self.stopping.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the webhooks' loop broke off");
        }
    }
}

struct Shared {
    ports: WebhookPorts,
    settings: WebhookSettings,
    guard: Guard,
}

/// Deliveries on their way.
#[derive(Default)]
struct InFlight {
    tries: JoinSet<DeliveryId>,
    ids: BTreeSet<DeliveryId>,
}

async fn run(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_flight = InFlight::default();
    let mut pruned_at: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            Some(ended) = in_flight.tries.join_next() => in_flight.forget(ended),
            _ = tick.tick() => {}
        }
        if let Err(error) = round(&shared, &mut in_flight).await {
            tracing::warn!(%error, "webhooks wait for the state database");
        }
        if pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) {
            pruned_at = Some(Instant::now());
            prune(&shared.ports).await;
        }
    }
    let all = async { while in_flight.tries.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::info!("webhook deliveries on their way are sent again at the next start");
    }
}

impl InFlight {
    fn forget(&mut self, ended: Result<DeliveryId, tokio::task::JoinError>) {
        match ended {
            Ok(id) => {
                self.ids.remove(&id);
            }
            Err(error) => {
                tracing::error!(%error, "a webhook delivery broke off");
                // Which one is not known; those that still run are only tried twice, under the same id.
                self.ids.clear();
            }
        }
    }
}

async fn round(shared: &Arc<Shared>, in_flight: &mut InFlight) -> Result<(), StoreError> {
    while hand_over(&shared.ports).await? {}
    let free = IN_FLIGHT_MAX.saturating_sub(in_flight.ids.len());
    if free == 0 {
        return Ok(());
    }
    let now = shared.ports.clock.now();
    let store = &shared.ports.store;
    let limit = IN_FLIGHT_MAX as u64;
    let due = store.due_deliveries(now, PER_TARGET_MAX, limit).await?;
    let fresh = due
        .into_iter()
        .filter(|delivery| !in_flight.ids.contains(&delivery.delivery_id));
    let fresh: Vec<DeliveryRecord> = fresh.take(free).collect();
    for delivery in fresh {
        in_flight.ids.insert(delivery.delivery_id.clone());
        let shared = shared.clone();
        in_flight.tries.spawn(async move {
            let id = delivery.delivery_id.clone();
            try_once(&shared, delivery).await;
            id
        });
    }
    Ok(())
}

async fn try_once(shared: &Shared, mut delivery: DeliveryRecord) {
    let Shared {
        ports,
        settings,
        guard,
    } = shared;
    let begun = ports.clock.now();
    let id = delivery.delivery_id.clone();
    let written = match attempt(ports, settings, guard, &delivery).await {
        Ok(outcome) => {
            note(ports, &mut delivery, begun, outcome);
            ports.store.update_delivery(&delivery).await
        }
        Err(error) => Err(error),
    };
    // It stays as it was in the store, and so is tried again.
    if let Err(error) = written {
        tracing::warn!(%error, delivery = %id, "the outcome of a webhook delivery was not written");
    }
}

fn note(ports: &WebhookPorts, delivery: &mut DeliveryRecord, begun: UnixMillis, outcome: Outcome) {
    let now = ports.clock.now();
    let again = |attempts: usize| next_attempt(now, attempts, random(ports));
    let (status, error, next) = match outcome {
        Outcome::Taken(status) => (Some(status), None, None),
        Outcome::NotTaken(status, why) => (status, Some(why), again(delivery.attempts.len() + 1)),
        Outcome::GivenUp(status, why) => (status, Some(why), None),
    };
    delivery.status = match (&error, next) {
        (None, _) => DeliveryStatus::Delivered,
        (Some(_), Some(_)) => DeliveryStatus::Pending,
        (Some(why), None) => {
            tracing::warn!(delivery = %delivery.delivery_id, why, "a webhook delivery was given up");
            DeliveryStatus::Failed
        }
    };
    delivery.attempts.push(DeliveryAttempt {
        at: begun,
        duration_ms: now.since(begun),
        status,
        error,
    });
    match next {
        Some(at) => delivery.next_attempt_at = at,
        None => delivery.finished_at = Some(now),
    }
}

fn random(ports: &WebhookPorts) -> u64 {
    let bytes = ports.entropy.bytes15();
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

async fn prune(ports: &WebhookPorts) {
    let before = UnixMillis(ports.clock.now().0.saturating_sub(KEPT_MS));
    if let Err(error) = ports.store.prune_deliveries(before).await {
        tracing::warn!(%error, "old webhook deliveries were not removed");
    }
}
