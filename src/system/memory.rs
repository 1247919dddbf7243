//! Keeps the process's memory to itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes the process undumpable and its core size zero: no core file, no `ptrace` and no `/proc/PID/mem` for
/// other processes of the same user (`prctl(2)`, `PR_SET_DUMPABLE`).
///
/// # Errors
/// What the kernel answered.
pub fn forbid_dumps() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
