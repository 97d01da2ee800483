//! How many requests a key may make.
//!
//! Owns one bucket of tokens for each key, in memory: a restart forgives.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fettle_model::{ApiKeyId, UnixMillis};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::ApiState;

/// A key that was quiet may make the requests of so many seconds at once.
const BURST_S: f64 = 10.0;

/// The buckets of all keys.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<BTreeMap<ApiKeyId, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: UnixMillis,
}

impl Rates {
    /// Takes a token; where there is none, says when there will be one.
    fn take(&self, key: &ApiKeyId, now: UnixMillis, per_second: f64) -> Result<(), Duration> {
        let most = (per_second * BURST_S).max(1.0);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket {
            tokens: most,
            at: now,
        };
        let bucket = buckets.entry(key.clone()).or_insert(full);
        let elapsed_s = now.since(bucket.at) as f64 / 1_000.0;
        bucket.tokens = (bucket.tokens + elapsed_s * per_second).min(most);
        bucket.at = now.max(bucket.at);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait_s = ((1.0 - bucket.tokens) / per_second)
            .ceil()
            .clamp(1.0, 3_600.0);
        Err(Duration::from_secs_f64(wait_s))
    }
}

/// Lets a request of a key through that has not made too many.
pub(crate) async fn limit(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let per_second = state.control().config().requests_per_second;
    let caller = request.extensions().get::<Caller>();
    if let (Some(per_second), Some(Caller(key))) = (per_second, caller)
        && let Err(wait) = state.rates().take(&key.key_id, state.now(), per_second)
    {
        return ApiError::too_many(wait).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_burst_then_its_rate() {
        let rates = Rates::default();
        let key = ApiKeyId::from_entropy([1; 15]);
        let take = |at_ms| rates.take(&key, UnixMillis(at_ms), 0.5);
        for _ in 0..5 {
            take(1_000).unwrap();
        }
        assert_eq!(take(1_000), Err(Duration::from_secs(2)));
        assert_eq!(take(2_000), Err(Duration::from_secs(1)));
        take(3_000).unwrap();
        take(3_000).unwrap_err();
        // A clock that goes back gives nothing and takes nothing.
        take(0).unwrap_err();
        take(5_000).unwrap();
        for _ in 0..5 {
            take(1_000_000).unwrap();
        }
        take(1_000_000).unwrap_err();
        let other = ApiKeyId::from_entropy([2; 15]);
        rates.take(&other, UnixMillis(1_000), 0.5).unwrap();
    }
}
