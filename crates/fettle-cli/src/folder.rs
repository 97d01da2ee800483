//! A folder's files, and the bucket, collections and batch that they become.
//!
//! Owns how `run` and `demo` lay out what they make. The files stay where they are: objects hold their addresses.

mod prepare;
mod scan;

pub(crate) use prepare::{Plan, Prepared, TierAsk, prepare, submit};
pub(crate) use scan::{File, scan};
