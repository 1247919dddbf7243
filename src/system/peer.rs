//! Who is at the other end of a Unix socket, by the kernel's word alone: user and group from `SO_PEERCRED`; the rest from
//! `/proc`, read while a pid file descriptor (`SO_PEERPIDFD`) shows that the process is still the same one.

use std::{
    fs,
    io::{self, BufRead},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::sys::socket::{getsockopt, sockopt};

/// What the kernel says of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id at the time of `connect`.
    pub uid: u32,
    /// Group ids, the primary one first.
    pub gids: Vec<u32>,
    /// The systemd unit of its control group.
    pub unit: Option<String>,
    /// Its command name (at most 15 bytes) and, where readable, its executable's file name.
    pub processes: Vec<String>,
}

/// What `/proc` says of a process.
#[derive(Default)]
struct Process {
    gids: Vec<u32>,
    unit: Option<String>,
    names: Vec<String>,
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
        let process = getsockopt(socket, sockopt::PeerPidfd).ok().and_then(|pidfd| look_at(&pidfd)).unwrap_or_default();
        let mut gids = vec![credentials.gid()];
        gids.extend(process.gids);
        Ok(Self { uid: credentials.uid(), gids, unit: process.unit, processes: process.names })
    }
}

/// Whether the kernel has `SO_PEERPIDFD`.
///
/// # Errors
/// What the kernel answered when asked for a pair of sockets.
pub fn has_peer_pidfd() -> io::Result<bool> {
    let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    Ok(getsockopt(&one, sockopt::PeerPidfd).is_ok())
}

fn look_at(pidfd: &OwnedFd) -> Option<Process> {
    let pid = pid_of(pidfd)?;
    let process = Process {
        gids: groups(pid),
        unit: fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|groups| unit(&groups)),
        names: names(pid),
    };
    // Reaped in between? Then the pid may have been given to another, and what was read may be that one's.
    (pid_of(pidfd) == Some(pid)).then_some(process)
}

/// The pid behind a descriptor; `None` once the process was reaped (the kernel then says -1).
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let info = fs::read(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

fn groups(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let listed = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    listed.unwrap_or_default().split_whitespace().filter_map(|gid| gid.parse().ok()).collect()
}

fn names(pid: u32) -> Vec<String> {
    let command =
        fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end_matches('\n').to_owned());
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let executable = executable.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    command.into_iter().chain(executable).collect()
}

/// The innermost systemd unit of a process in `/proc/PID/cgroup` (version 2: `0::/system.slice/name.service`).
fn unit(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let is_unit = |part: &&str| [".service", ".scope"].iter().any(|suffix| part.ends_with(suffix));
    path.split('/').rfind(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn this_process_is_known_by_its_own_ids_and_name() {
        let (one, _other) = UnixStream::pair().expect("a pair of sockets");
        let peer = Peer::of(&one).expect("a peer");
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.gids[0], nix::unistd::getgid().as_raw());
        if has_peer_pidfd().expect("a pair of sockets") {
            let executable = std::env::current_exe().expect("a path");
            let name = executable.file_name().expect("a name").to_string_lossy();
            assert!(peer.processes.iter().any(|one| *one == name), "{:?}", peer.processes);
        } else {
            assert!(peer.processes.is_empty());
        }
    }

    #[test]
    fn a_unit_is_read_from_the_innermost_part() {
        assert_eq!(unit("0::/system.slice/billing.service\n"), Some("billing.service".to_owned()));
        assert_eq!(
            unit("0::/user.slice/user-1.slice/user@1.service/app.slice/run-7.scope\n"),
            Some("run-7.scope".to_owned())
        );
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(unit("1:name=systemd:/system.slice/a.service\n"), None);
    }
}
