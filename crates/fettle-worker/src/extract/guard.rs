//! Runs a parser of foreign formats so that its panic or deep recursion costs one row, not the worker.
//!
//! Owns the thread around such a call. It must not hide the panic: the default hook still writes it to the worker's log.

use std::any::Any;
use std::thread;

/// Parsers of nested formats recurse with the nesting of the input; a worker thread's usual 2 MiB is reached by small
/// hostile files. Only touched pages cost memory.
const STACK_BYTES: usize = 64 << 20;

/// Runs `work` on a thread of its own.
///
/// # Errors
/// The panic's text, or why no thread could be started.
pub(super) fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let thread = thread::Builder::new()
        .name("fettle-parse".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| format!("no thread could be started: {error}"))?;
    thread.join().map_err(|panic| panic_text(panic.as_ref()))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no reason given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(
            guarded(|| -> u8 { panic!("at page {}", 3) }),
            Err("at page 3".to_owned())
        );
    }
}
