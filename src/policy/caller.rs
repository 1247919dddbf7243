//! Who calls: only what the kernel says.

/// A caller on a local socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group ids, the primary one first.
    pub gids: Vec<u32>,
    /// What it is, besides whose.
    pub process: Process,
}

/// What the kernel could tell of a caller's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// Nothing: this kernel can't name a peer's process.
    Unsupported,
    /// Nothing any more: it has ended, or could not be looked at.
    Vanished,
    /// This.
    Known {
        /// Its unit of the system's systemd. Only root starts one.
        unit: Option<String>,
        /// Whatever its control group's path has that is called as a unit is, that one among them.
        units: Vec<String>,
        /// The names of its program: its command name and, where readable, its executable's file name.
        names: Vec<String>,
        /// Whether a process that the workflow guard names runs in the same control group.
        beside_guarded: bool,
    },
}

impl Caller {
    /// Its unit of the system's systemd.
    pub fn unit(&self) -> Option<&str> {
        match &self.process {
            Process::Known { unit, .. } => unit.as_deref(),
            Process::Unsupported | Process::Vanished => None,
        }
    }
}
