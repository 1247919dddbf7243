//! What `/proc` says of processes.

use std::{fs, io};

/// A process, as it is known by its pid at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its unit of the system's systemd.
    pub unit: Option<String>,
    /// Whatever on the path of its control group is called as a unit is, from the outermost: that one, and those nested in
    /// it, or what another than systemd has made.
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
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = path(&group);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        if has_ended(&status) {
            return None;
        }
        Some(Self {
            unit: path.and_then(system_unit),
            units: path.map(units).unwrap_or_default(),
            control_group: path.map(up_to_unit).map(str::to_owned),
            names,
            // Real, effective, saved, file system.
            uid: numbers(&status, "Uid:").nth(1),
            gids: numbers(&status, "Groups:").collect(),
        })
    }
}

/// Whether executables of others can be seen: root's are, by nobody who may not look into any process.
pub fn sees_executables() -> bool {
    fs::read_link("/proc/1/exe").is_ok()
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

/// Whatever on a path is called as a systemd unit is, from the outermost.
fn units(path: &str) -> Vec<String> {
    path.split('/').filter(|part| is_unit(part)).map(unescaped).collect()
}

/// The unit of the system's systemd that a path is in: what stands behind its slices (`cg_path_get_unit` in systemd's
/// cgroup-util.c). Further in, or on a path that is not systemd's, a control group is called what its owner likes.
fn system_unit(path: &str) -> Option<String> {
    let is_slice = |part: &str| part.rsplit_once('.').is_some_and(|(_, kind)| kind == "slice");
    let first = path.split('/').find(|part| !part.is_empty() && !is_slice(part))?;
    is_unit(first).then(|| unescaped(first))
}

/// Whether a process is one that nobody has waited for yet (`proc_pid_status(5)`): its name is there still.
fn has_ended(status: &str) -> bool {
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
    state.trim_start().starts_with(['Z', 'X'])
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
    fn a_unit_is_what_stands_behind_the_slices_and_nothing_else_that_is_called_so() {
        let system = Some("billing.service".to_owned());
        assert_eq!(system_unit("/system.slice/billing.service"), system);
        assert_eq!(system_unit("/system.slice/system-x.slice/billing.service/inner/y.service"), system);
        assert_eq!(system_unit("/billing.service"), system);
        for another in
            ["/", "/lxc.payload.c1/system.slice/billing.service", "/mine/billing.service", "/../billing.service"]
        {
            assert_eq!(system_unit(another), None, "{another}");
        }
        assert_eq!(system_unit("/user.slice/user@1.service/billing.service"), Some("user@1.service".to_owned()));
    }

    #[test]
    fn a_process_that_has_ended_is_none_though_its_name_is_there() {
        let mut child = std::process::Command::new("true").spawn().expect("it runs");
        while fs::read_to_string(format!("/proc/{}/status", child.id())).is_ok_and(|status| !has_ended(&status)) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(Process::of(child.id()), None);
        child.wait().expect("a child");
    }

    #[test]
    fn this_process_is_among_all() {
        let own = Process::of(std::process::id()).expect("this process");
        assert_eq!(own.uid, Some(nix::unistd::geteuid().as_raw()));
        assert!(all().expect("processes").contains(&own));
    }
}
