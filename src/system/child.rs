//! Programs that are started with more than std's `Command` knows of, and how they end.

#![expect(unsafe_code, reason = "what happens between fork and exec, and the default disposition of signals")]

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{self, Command},
};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, WaitOptions, getppid, set_parent_process_death_signal, waitpid},
};

/// Has a program inherit these descriptors, by the numbers that they have here.
pub fn inherit(command: &mut Command, descriptors: Vec<OwnedFd>) {
    let keep = move || descriptors.iter().try_for_each(|one| Ok(fcntl_setfd(one, FdFlags::empty())?));
    // SAFETY: between fork and exec it makes one system call for each and allocates nothing.
    unsafe { command.pre_exec(keep) };
}

/// Has a program get SIGTERM when this process ends without having waited for it, and gives it these signals to block.
///
/// INVARIANT: the thread that spawns it lives as long as the process: its end counts as the parent's (PR_SET_PDEATHSIG(2const)).
pub fn bind_to_us(command: &mut Command, blocked: SigSet) {
    let us = process::id();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // We may have ended before that.
        if getppid().is_none_or(|parent| parent.as_raw_nonzero().get().cast_unsigned() != us) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)?)
    };
    // SAFETY: between fork and exec it makes system calls and allocates nothing.
    unsafe { command.pre_exec(bind) };
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// This signal stopped it, and it can go on.
    Stopped(i32),
}

/// What became of a child since it was asked last; `None` for nothing.
///
/// # Errors
/// It is no child of ours.
pub fn turn(child: Pid) -> io::Result<Option<Turn>> {
    let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG | WaitOptions::UNTRACED)? else {
        return Ok(None);
    };
    let exited = status.exit_status().map(Turn::Exited);
    let killed = || status.terminating_signal().map(Turn::Killed);
    let stopped = || status.stopping_signal().map(Turn::Stopped);
    Ok(exited.or_else(killed).or_else(stopped))
}

/// Makes sure that children are waited for: who started us may have had SIGCHLD ignored, and then they vanish (wait(2)).
pub fn keep_ended() {
    // SAFETY: the default disposition runs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Whether whoever started us had us ignore a signal: nohup(1), or a shell for what it runs in the background.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: zeros are a valid `sigaction`.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: it asks only; `now` is there to be written.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Ends this process by a signal, so that whoever waits for it sees what its child died of. It comes back if the signal ends
/// nothing: of the first process of a container.
pub fn end_by(signal: i32) {
    // SAFETY: the default disposition runs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: zeros are a valid `sigset_t`.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is there to be written and read.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
    // SAFETY: a system call that takes an integer.
    unsafe { libc::raise(signal) };
}
