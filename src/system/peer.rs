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
    /// What `/proc` says of its process; `None` if it could not be looked at.
    pub process: Option<Process>,
}

/// What `/proc` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The systemd units of its control group, the innermost last.
    pub units: Vec<String>,
    /// Its command name (at most 15 bytes) and, where readable, its executable's file name.
    pub names: Vec<String>,
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
        let looked_at = getsockopt(socket, sockopt::PeerPidfd).ok().and_then(|pidfd| look_at(&pidfd));
        let (process, supplementary) = looked_at.unzip();
        let gids = std::iter::once(credentials.gid()).chain(supplementary.unwrap_or_default()).collect();
        Ok(Self { uid: credentials.uid(), gids, process })
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

/// The process behind a descriptor, and its groups.
fn look_at(pidfd: &OwnedFd) -> Option<(Process, Vec<u32>)> {
    let pid = pid_of(pidfd)?;
    let units = fs::read_to_string(format!("/proc/{pid}/cgroup")).map(|groups| units(&groups)).unwrap_or_default();
    let (process, gids) = (Process { units, names: names(pid) }, groups(pid));
    // Reaped in between? Then the pid may have been given to another, and what was read may be that one's. A process
    // without a name is one that has ended and was not reaped yet.
    (pid_of(pidfd) == Some(pid) && !process.names.is_empty()).then_some((process, gids))
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

/// The systemd units of a process in `/proc/PID/cgroup` (version 2: `0::/system.slice/name.service`), from the outermost.
fn units(groups: &str) -> Vec<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let is_unit = |part: &&str| [".service", ".scope"].iter().any(|suffix| part.ends_with(suffix));
    path.split('/').filter(is_unit).map(str::to_owned).collect()
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
            let process = peer.process.expect("it can be looked at");
            assert!(process.names.iter().any(|one| *one == name), "{process:?}");
        } else {
            assert_eq!(peer.process, None);
        }
    }

    #[test]
    fn units_are_read_from_the_outermost_to_the_innermost() {
        assert_eq!(units("0::/system.slice/billing.service\n"), ["billing.service"]);
        assert_eq!(
            units("0::/user.slice/user-1.slice/user@1.service/app.slice/run-7.scope\n"),
            ["user@1.service", "run-7.scope"]
        );
        assert!(units("0::/\n").is_empty());
        assert!(units("1:name=systemd:/system.slice/a.service\n").is_empty());
    }
}
