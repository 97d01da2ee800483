//! The two things a deterministic program must not take for itself: time and randomness.

use fettle_model::UnixMillis;

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The present wall-clock time.
    fn now(&self) -> UnixMillis;
}

/// Where randomness comes from.
pub trait Entropy: Send + Sync {
    /// 120 random bits, enough for an id that cannot be guessed.
    fn bytes15(&self) -> [u8; 15];
}
