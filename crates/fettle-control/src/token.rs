//! Tokens: derived from a secret, so that none is stored and each fits one attempt only, or the backend as a whole.

use fettle_model::AttemptId;

/// What the backend's token is of; no attempt has such an id.
const BACKEND: &str = "backend";

/// The secret of an attempt, as text.
pub(crate) fn token(secret: &[u8; 32], attempt: &AttemptId) -> String {
    token_of(secret, attempt.as_str())
}

/// Whether `given` is the attempt's token; takes the same time for every wrong one.
pub(crate) fn token_is(secret: &[u8; 32], attempt: &AttemptId, given: &str) -> bool {
    is_token_of(secret, attempt.as_str(), given)
}

/// The secret with which the backend tells of itself, as text.
pub(crate) fn backend_token(secret: &[u8; 32]) -> String {
    token_of(secret, BACKEND)
}

/// Whether `given` is the backend's token; takes the same time for every wrong one.
pub(crate) fn backend_token_is(secret: &[u8; 32], given: &str) -> bool {
    is_token_of(secret, BACKEND, given)
}

fn token_of(secret: &[u8; 32], whose: &str) -> String {
    blake3::keyed_hash(secret, whose.as_bytes())
        .to_hex()
        .to_string()
}

fn is_token_of(secret: &[u8; 32], whose: &str, given: &str) -> bool {
    let right = blake3::keyed_hash(secret, whose.as_bytes());
    // blake3's own comparison is constant-time.
    blake3::Hash::from_hex(given.as_bytes()).is_ok_and(|given| given == right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_model::JobId;

    #[test]
    fn a_token_fits_its_attempt_and_no_other() {
        let secret = [3; 32];
        let job = JobId::from_entropy([1; 15]);
        let (first, second) = (AttemptId::of(&job, 1), AttemptId::of(&job, 2));
        assert!(token_is(&secret, &first, &token(&secret, &first)));
        assert!(!token_is(&secret, &second, &token(&secret, &first)));
        assert!(!token_is(&secret, &first, ""));
        assert!(!token_is(&[4; 32], &first, &token(&secret, &first)));
        assert!(backend_token_is(&secret, &backend_token(&secret)));
        assert!(!backend_token_is(&secret, &token(&secret, &first)));
        assert!(!token_is(&secret, &first, &backend_token(&secret)));
    }
}
