//! Who is at the other end of a Unix socket, by the kernel's word alone: user and group from `SO_PEERCRED`; the rest from
//! `/proc`, read while a pid file descriptor (`SO_PEERPIDFD`) shows that the process is still the same one.

use std::{
    fs,
    io::{self, BufRead},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::OnceLock,
};

use nix::sys::socket::{getsockopt, sockopt};

use super::process::Process;

/// The peer of a connected socket.
#[derive(Debug)]
pub struct Peer {
    /// User id at the time of `connect`.
    pub uid: u32,
    /// Primary group id, then.
    pub gid: u32,
    /// Its process, whichever pids have been given anew since.
    process: Option<OwnedFd>,
}

impl Peer {
    /// Identifies the peer of a connected socket.
    ///
    /// On a kernel without `SO_PEERPIDFD` (before 6.5), or once the process has ended, only user and primary group are
    /// known: a bare pid may be another process's by now.
    ///
    /// # Errors
    /// What the kernel answered to `SO_PEERCRED`.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
        let process = getsockopt(socket, sockopt::PeerPidfd).ok();
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), process })
    }

    /// Its process as it is now; `None` if it has ended, or could not be looked at.
    pub fn process(&self) -> Option<Process> {
        let pidfd = self.process.as_ref()?;
        let pid = pid_of(pidfd)?;
        let process = Process::of(pid)?;
        // INVARIANT: reaped in between, the pid may have been given to another, and what was read may be that one's.
        (pid_of(pidfd) == Some(pid)).then_some(process)
    }
}

/// Whether the kernel has `SO_PEERPIDFD`.
///
/// # Errors
/// What the kernel answered when asked for a pair of sockets.
pub fn has_peer_pidfd() -> io::Result<bool> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    Ok(*KNOWN.get_or_init(|| getsockopt(&one, sockopt::PeerPidfd).is_ok()))
}

/// The pid behind a descriptor; `None` once the process was reaped (the kernel then says -1).
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let info = fs::read(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::{UnixListener, UnixStream},
        process::{Child, Command},
    };

    use rustix::{
        net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket},
        process::{Pid, WaitOptions, waitpid},
    };

    use super::*;

    #[test]
    fn this_process_is_known_by_its_own_ids_and_name() {
        let (one, _other) = UnixStream::pair().expect("a pair of sockets");
        let peer = Peer::of(&one).expect("a peer");
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.gid, nix::unistd::getgid().as_raw());
        if has_peer_pidfd().expect("a pair of sockets") {
            let executable = std::env::current_exe().expect("a path");
            let name = executable.file_name().expect("a name").to_string_lossy();
            let process = peer.process().expect("it can be looked at");
            assert!(process.names.iter().any(|one| *one == name), "{process:?}");
        } else {
            assert_eq!(peer.process(), None);
        }
    }

    #[expect(unsafe_code, reason = "a process that only makes system calls, whose descriptors are this one's")]
    /// Connects in a process of its own, which then ends; its pid, and the accepted connection, which stays open.
    fn connected_by_another(listener: &UnixListener) -> (Pid, UnixStream) {
        let path = listener.local_addr().expect("an address").as_pathname().expect("a path").to_owned();
        let address = SocketAddrUnix::new(&path).expect("an address");
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        // SAFETY: the child makes system calls only, and ends by one.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let failed = connect(&socket, &address).is_err();
            // SAFETY: it ends this process and touches nothing of it.
            unsafe { libc::_exit(i32::from(failed)) }
        }
        // The connection is this process's as well: it outlives the one that made it.
        std::mem::forget(socket);
        let (accepted, _) = listener.accept().expect("a connection");
        (Pid::from_raw(pid).expect("a child"), accepted)
    }

    /// Starts a program until it has a certain pid.
    fn start_as(pid: Pid) -> Child {
        for _ in 0..1_000 {
            let last = (pid.as_raw_nonzero().get() - 1).to_string();
            fs::write("/proc/sys/kernel/ns_last_pid", last).expect("root may choose pids");
            let child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
            if child.id() == pid.as_raw_nonzero().get().unsigned_abs() {
                return child;
            }
            end(child);
        }
        panic!("others were always faster");
    }

    fn end(mut child: Child) {
        child.kill().expect("a child");
        child.wait().expect("a child");
    }

    #[test]
    fn whoever_has_the_pid_of_a_caller_that_ended_is_not_taken_for_it() {
        if std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none() && !nix::unistd::geteuid().is_root() {
            // Only root may choose pids.
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("api.sock")).expect("a socket");
        let (pid, connection) = connected_by_another(&listener);
        let before = Peer::of(&connection).expect("a peer");
        waitpid(Some(pid), WaitOptions::empty()).expect("a child").expect("it ended");
        let impostor = start_as(pid);
        let by_pid = Process::of(impostor.id()).expect("the impostor");
        assert!(by_pid.names.iter().any(|name| name == "sleep"), "its pid names the impostor: {by_pid:?}");
        assert_eq!(before.process(), None, "looked at before and after");
        assert_eq!(Peer::of(&connection).expect("a peer").process(), None, "looked at after alone");
        end(impostor);
    }
}
