//! Places at which a test has the daemon killed: see tests/crash. Only with the feature `failpoints`, which releases lack.

/// Ends the process here, without ado, if the environment says so.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::pass($name);
    };
}
pub(crate) use failpoint;

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("failpoints are for tests: a release has none");

/// Passes a failpoint. `TRAYVAULT_FAILPOINT=NAME:COUNT` kills the process when it passes that one for the COUNTth time.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    };
    static ARMED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let armed = ARMED.get_or_init(|| {
        let value = std::env::var("TRAYVAULT_FAILPOINT").ok()?;
        let (name, count) = value.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((point, count)) = armed
        && point == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        // As the kernel does it when memory runs out: nothing is unwound, flushed or told.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
