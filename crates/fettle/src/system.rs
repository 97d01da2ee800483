//! The machine's own clock and randomness. The only place that takes them for the control room.

use std::time::{SystemTime, UNIX_EPOCH};

use fettle_model::UnixMillis;
use fettle_ports::{Clock, Entropy};

/// The wall clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The kernel's generator.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bytes15(&self) -> [u8; 15] {
        let mut bytes = [0; 15];
        getrandom::fill(&mut bytes)
            .expect("the kernel's generator does not fail once it is seeded");
        bytes
    }
}
