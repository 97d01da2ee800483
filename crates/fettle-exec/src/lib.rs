//! Backends that run attempts: local processes.
//!
//! Owns the life of drivers as seen from `fettle serve`. It holds no state that a restart could lose: everything it knows
//! of an attempt lies in the attempt's folder or is asked of the kernel.

pub mod local;

pub use local::LocalExecutor;
pub use local::config::{LocalConfig, OpenError};
