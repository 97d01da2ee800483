//! HTTP to addresses that users give: blobs to fetch, webhooks to call.
//!
//! Owns the guard that keeps such requests out of the machine, its network and its cloud's metadata service. It must not know
//! what is sent or fetched.

mod guard;
mod public_address;

pub use guard::{Guard, PrivateAddress, Refused, check};
