//! Landlock (landlock(7)): from its start on the process reaches no more of the host than it needs, whatever it runs. Best
//! effort: a kernel without it, or with an earlier version, gives what it has.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// What is asked for: files, devices' controls, TCP, signals and abstract sockets. From Linux 6.12 on all of it is had.
const WANTED: ABI = ABI::V6;

/// What any program reads: libraries and what they look up names with, certificates, callers, devices of no content.
const SYSTEM: [&str; 10] =
    ["/etc", "/usr", "/lib", "/lib64", "/run", "/proc", "/sys", "/dev", "/var/lib/sss", "/var/lib/extrausers"];
/// The same where programs are elsewhere (NixOS, Guix).
const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];

/// What the process needs of the host.
#[derive(Debug, Default)]
pub struct Needs {
    /// Beneath these it reads and writes. One that is not there yet stands for the nearest that is above it.
    pub writes: Vec<PathBuf>,
    /// Beneath these it reads, besides the system's.
    pub reads: Vec<PathBuf>,
    /// Whether it asks on its terminal.
    pub asks: bool,
    /// Whether it starts a program, which may be anywhere and need anything to read.
    pub starts_programs: bool,
    /// The TCP ports that it connects to. It listens on none.
    pub ports: Vec<u16>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// All of it is in force.
    Whole,
    /// What this kernel's version of Landlock has is.
    Partial,
    /// Nothing is: the kernel has no Landlock, or it is off.
    #[default]
    None,
}

/// What this kernel would give.
pub fn offered() -> Sandbox {
    let has = |abi| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        ruleset.handle_access(AccessFs::from_all(abi)).and_then(Ruleset::create).is_ok()
    };
    // Scopes came last.
    let scopes = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::from_all(WANTED));
    match scopes.and_then(Ruleset::create) {
        Ok(_) => Sandbox::Whole,
        Err(_) if has(ABI::V1) => Sandbox::Partial,
        Err(_) => Sandbox::None,
    }
}

/// Gives up, for good, what is not needed. For a process of one thread: those that it has already are left out.
///
/// # Errors
/// The kernel refuses what it says that it has.
pub fn enter(needs: &Needs) -> Result<Sandbox, RulesetError> {
    let reads = AccessFs::from_read(WANTED) & !AccessFs::Execute;
    let writes = AccessFs::from_all(WANTED) & !AccessFs::Execute & !AccessFs::IoctlDev;
    let system = SYSTEM.iter().chain(&STORES).map(Path::new);
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .add_rules(path_beneath_rules(system.chain(needs.reads.iter().map(PathBuf::as_path)), reads))?
        .add_rules(path_beneath_rules(needs.writes.iter().filter_map(|path| nearest(path)), writes))?
        // Where a program's output that nobody wants goes.
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile | AccessFs::ReadFile))?;
    if needs.asks {
        let terminal = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        ruleset = ruleset.add_rules(path_beneath_rules(["/dev/tty"], terminal))?;
    }
    for port in &needs.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    if needs.starts_programs
        && let Ok(root) = PathFd::new("/")
    {
        ruleset = ruleset.add_rule(PathBeneath::new(root, AccessFs::from_read(WANTED)))?;
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Sandbox::Whole,
        RulesetStatus::PartiallyEnforced => Sandbox::Partial,
        RulesetStatus::NotEnforced => Sandbox::None,
    })
}

/// The path, or what is above it and there.
fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{self, ErrorKind},
        net::{TcpListener, TcpStream},
        process::Command,
    };

    use super::*;

    #[test]
    fn what_is_not_needed_is_out_of_reach() {
        let (inside, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let own = inside.path().join("state/cache.db");
        let foreign = outside.path().join("foreign");
        fs::write(&foreign, "foreign").expect("written");
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a socket"));
        let [needed, other] = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
        // Not there yet: the nearest above it is meant.
        let needs = Needs { writes: vec![own.clone()], ports: vec![needed.port()], ..Needs::default() };
        let target = foreign.clone();
        // It is the thread's own.
        let tried = std::thread::spawn(move || {
            let sandbox = enter(&needs).expect("it is entered");
            fs::create_dir(own.parent().expect("a directory")).expect("made");
            fs::write(&own, "own").expect("written");
            fs::rename(&own, own.with_extension("moved")).expect("moved");
            fs::read("/etc/passwd").expect("what name look-ups need");
            fs::read("/proc/1/comm").expect("callers");
            TcpStream::connect(needed).expect("a port that is needed");
            let refused = [
                fs::read(&target).map(drop),
                fs::write(&target, "").map(drop),
                fs::write("/etc/trayvault-was-here", "").map(drop),
                TcpStream::connect(other).map(drop),
                TcpListener::bind("127.0.0.1:0").map(drop),
                Command::new("/bin/true").status().map(drop),
            ];
            (sandbox, refused.map(|result| result.map_err(|error: io::Error| error.kind())))
        });
        let (sandbox, refused) = tried.join().expect("a thread");
        assert_eq!(sandbox, offered());
        match sandbox {
            Sandbox::Whole => assert_eq!(refused, [Err(ErrorKind::PermissionDenied); 6]),
            Sandbox::Partial => assert_eq!(refused[..3], [Err(ErrorKind::PermissionDenied); 3]),
            Sandbox::None => return fs::remove_file("/etc/trayvault-was-here").unwrap_or_default(),
        }
        assert_eq!(fs::read(&foreign).expect("read"), b"foreign");
    }
}
