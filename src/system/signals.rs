//! Signals as messages, with who sent them: signalfd(2). Dispositions stay as they were, so that what is started inherits
//! them.

#![expect(unsafe_code, reason = "tokio asks that a descriptor stays open while it is registered")]

use std::io;

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::io::unix::AsyncFd;

use super::child::is_ignored;

/// Signals that are held back from their default actions, and read.
pub struct Signals {
    descriptor: AsyncFd<SignalFd>,
    before: SigSet,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub signal: Signal,
    /// The process that sent it; none for the kernel: of the terminal's keys, for all of the foreground.
    pub sender: Option<u32>,
}

impl Signals {
    /// Begins. Those that are ignored stay so.
    ///
    /// INVARIANT: the process has one thread, or each of the others blocks them too.
    ///
    /// # Errors
    /// There is no descriptor, or no runtime of tokio's.
    pub fn hold_back(signals: impl IntoIterator<Item = Signal>) -> io::Result<Self> {
        let set: SigSet = signals.into_iter().filter(|signal| !is_ignored(*signal as i32)).collect();
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // SAFETY: the descriptor is owned by what is registered, which gives out references only, and stays open with it.
        let descriptor = unsafe { AsyncFd::register(descriptor)? };
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        Ok(Self { descriptor, before })
    }

    /// What was blocked before.
    pub fn before(&self) -> SigSet {
        self.before
    }

    /// The next one.
    ///
    /// # Errors
    /// The descriptor can't be read any more.
    pub async fn next(&mut self) -> io::Result<Arrived> {
        loop {
            let mut ready = self.descriptor.readable().await?;
            let read = ready.try_io(|descriptor| {
                let read = descriptor.get_ref().read_signal()?;
                read.ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            if let Ok(read) = read {
                let read = read?;
                let signal = Signal::try_from(read.ssi_signo.cast_signed())?;
                // A code above 0 is the kernel's (sigaction(2), "The si_code field").
                return Ok(Arrived { signal, sender: (read.ssi_code <= 0).then_some(read.ssi_pid) });
            }
        }
    }
}
