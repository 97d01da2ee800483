//! Signatures, in the form of the Standard Webhooks specification (<https://www.standardwebhooks.com>), so that receivers
//! can verify with any of its libraries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fettle_model::BatchId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with when the rest is base64 of the key.
const PREFIX: &str = "whsec_";

/// A secret of random bytes.
#[must_use]
pub fn new_secret(random: &[u8]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(random))
}

/// The secret for a batch's own address: a function of the server's secret, so that none is stored.
#[must_use]
pub fn batch_secret(server_secret: &[u8; 32], batch: &BatchId) -> String {
    let label = format!("webhook of {batch}");
    new_secret(blake3::keyed_hash(server_secret, label.as_bytes()).as_bytes())
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
#[must_use]
pub fn signature(secret: &str, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    // HMAC takes keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key(secret)) else {
        return String::new();
    };
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The key that a secret stands for; a secret of another form is the key itself.
fn key(secret: &str) -> Vec<u8> {
    let encoded = secret.strip_prefix(PREFIX);
    encoded
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let body = br#"{"test": 2432232314}"#;
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn batches_have_secrets_of_their_own() {
        let (one, other) = (
            BatchId::from_entropy([1; 15]),
            BatchId::from_entropy([2; 15]),
        );
        let secret = [7; 32];
        assert_eq!(batch_secret(&secret, &one), batch_secret(&secret, &one));
        assert_ne!(batch_secret(&secret, &one), batch_secret(&secret, &other));
        assert_ne!(batch_secret(&secret, &one), batch_secret(&[8; 32], &one));
    }
}
