//! Webhooks: which event goes to whom, what is sent, and how long it is tried.
//!
//! Owns the way from stored events to receivers. An event and its deliveries change hands in one transaction, so nothing is
//! lost or doubled when the process is killed; a delivery that was on its way then is sent again under the same id. It must
//! not decide anything about a batch, and must not reach addresses that the guard refuses.

mod deliver;
mod event;
mod hand_over;
mod schedule;
mod send;
mod sign;

pub use deliver::{WebhookPorts, WebhookSettings, Webhooks};
pub use event::{EXTENSION_TYPES, ONE_OFF_TYPE};
pub use fettle_outbound::Refused;
pub use hand_over::WAITING_MAX;
pub use send::check_address;
pub use sign::{batch_secret, new_secret, signature};
