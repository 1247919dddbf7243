//! Limits of the process.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Permits as many open files as the hard limit does: each connection is two, and one more while an answer does not fit, and
/// the soft limit is 1,024 for the sake of programs that use select(2).
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Best effort: with fewer, connections are refused sooner.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_may_be_may_be_open() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
