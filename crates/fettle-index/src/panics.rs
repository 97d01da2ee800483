//! Turns panics of the library into faults. Owns nothing; it must not be used to hide panics of our own code.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fault::Fault;

/// Runs `work`; a panic in it becomes a fault that spoils the shard, so what it left half done is never used again.
pub(crate) fn contain<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let message = message_of(panic.as_ref());
            tracing::error!(
                message,
                "the document index library panicked; its shard is opened again"
            );
            Err(Fault::told(message.to_owned()))
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the index library panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_fault_with_its_message() {
        let outcome: Result<(), _> = contain(|| panic!("lock {}", 7));
        assert_eq!(outcome, Err(Fault::Broken("lock 7".to_owned())));
    }

    #[test]
    fn a_panic_about_a_full_disk_is_told_as_such() {
        let outcome: Result<(), _> =
            contain(|| panic!("segments flushed: No space left on device (os error 28)"));
        assert_eq!(outcome, Err(Fault::Full));
    }
}
