//! Backends that run attempts: local processes, and jobs on a Ray cluster.
//!
//! Owns the life of drivers as seen from `fettle serve`. It holds no state that a restart could lose: everything it knows
//! of an attempt lies in the attempt's folder, or is asked of the kernel or of the cluster.

use std::io;

pub mod local;
mod logs;
pub mod ray;
mod record;

pub use local::LocalExecutor;
pub use local::config::{LocalConfig, OpenError};
pub use ray::{RayConfig, RayExecutor, RayNodeType, RayOpenError};

/// File work may wait for a disk, which must not hold up the threads that serve requests.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
