//! What `/proc` says of processes.

use std::{fs, io};

/// A process, as it is known by its pid at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The systemd units of its control group: the one of the system's manager, then those nested in it.
    pub units: Vec<String>,
    /// Its control group, as far as the unit of the system's manager; `None` where the host has none of version 2.
    pub control_group: Option<String>,
    /// Its command name (at most 15 bytes) and, where readable, its executable's file name.
    pub names: Vec<String>,
    /// Its effective user, and its supplementary groups.
    pub uid: Option<u32>,
    /// See above.
    pub gids: Vec<u32>,
}

impl Process {
    /// Looks at a process; `None` if there is none of that pid, or it has ended and was not reaped yet.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let names = names(pid);
        if names.is_empty() {
            return None;
        }
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let path = path(&group);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Some(Self {
            units: path.map(units).unwrap_or_default(),
            control_group: path.map(up_to_unit).map(str::to_owned),
            names,
            // Real, effective, saved, file system.
            uid: numbers(&status, "Uid:").nth(1),
            gids: numbers(&status, "Groups:").collect(),
        })
    }
}

/// Every process there is, as far as this one may see them.
///
/// # Errors
/// `/proc` can't be read.
pub fn all() -> io::Result<Vec<Process>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(Process::of).collect())
}

fn names(pid: u32) -> Vec<String> {
    let command =
        fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end_matches('\n').to_owned());
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let executable = executable.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    command.into_iter().chain(executable).collect()
}

fn numbers<'a>(status: &'a str, key: &str) -> impl Iterator<Item = u32> + use<'a> {
    let listed = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    listed.split_whitespace().filter_map(|number| number.parse().ok())
}

/// The control group of version 2 in `/proc/PID/cgroup` (`0::/system.slice/name.service`).
fn path(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The systemd units on a path, from the outermost.
fn units(path: &str) -> Vec<String> {
    path.split('/').filter(|part| is_unit(part)).map(unescaped).collect()
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope"].iter().any(|suffix| part.ends_with(suffix))
}

/// systemd puts an underscore before names that the kernel, or another of its own, could take for something else.
fn unescaped(part: &str) -> String {
    part.strip_prefix('_').unwrap_or(part).to_owned()
}

/// The path as far as its outermost unit, whose processes may move among the groups beneath; all of it if it has none.
fn up_to_unit(path: &str) -> &str {
    let mut end = 0;
    for part in path.split_inclusive('/') {
        end += part.len();
        if is_unit(part.trim_end_matches('/')) {
            break;
        }
    }
    let path = &path[..end];
    if path == "/" { path } else { path.trim_end_matches('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_from_the_outermost_to_the_innermost() {
        let of = |groups| units(path(groups).unwrap_or_default());
        assert_eq!(of("0::/system.slice/billing.service\n"), ["billing.service"]);
        assert_eq!(
            of("0::/user.slice/user-1.slice/user@1.service/app.slice/run-7.scope\n"),
            ["user@1.service", "run-7.scope"]
        );
        assert_eq!(of("0::/system.slice/_cgroup.service\n"), ["cgroup.service"]);
        assert!(of("0::/\n").is_empty());
        assert!(of("1:name=systemd:/system.slice/a.service\n").is_empty());
    }

    #[test]
    fn a_control_group_is_known_as_far_as_its_outermost_unit() {
        for (path, group) in [
            ("/system.slice/agent.service", "/system.slice/agent.service"),
            ("/system.slice/agent.service/inner/x.service", "/system.slice/agent.service"),
            ("/kubepods/pod7", "/kubepods/pod7"),
            ("/", "/"),
        ] {
            assert_eq!(up_to_unit(path), group);
        }
    }

    #[test]
    fn this_process_is_among_all() {
        let own = Process::of(std::process::id()).expect("this process");
        assert_eq!(own.uid, Some(nix::unistd::geteuid().as_raw()));
        assert!(all().expect("processes").contains(&own));
    }
}
