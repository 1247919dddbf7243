//! What is to be done about a supervised command, and when: decisions only.

use nix::sys::signal::Signal;

use super::Ended;
use crate::system::child::Turn;

/// Where a command is.
pub(super) struct Course {
    /// Whether it is ended and started anew when what it can't be given otherwise changes.
    restarts: bool,
    /// Whether it is sent a signal when only files changed that can be renewed.
    signals: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Runs,
    /// It was told to end, to be started anew.
    Restarts,
    /// Somebody wants it to end for good.
    Ends,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Send it the signal that we got.
    PassOn,
    /// Tell it to end; kill it if it takes too long.
    Stop,
    Kill,
    /// Start it with what it has to have now.
    Start,
    /// Renew its files and tell it.
    Renew,
    /// Stop as it stopped, until somebody has both go on.
    StandStill,
    End(Ended),
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The kernel: what the terminal's keys send, all of the foreground gets, the command too.
    Terminal,
    Command,
    Other,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// Files that can be renewed, and nothing else.
    Files,
    Fixed,
}

impl Course {
    pub(super) fn new(restarts: bool, signals: bool) -> Self {
        Self { restarts, signals, phase: Phase::Runs }
    }

    /// Whether it matters now that something changed.
    pub(super) fn takes_changes(&self) -> bool {
        self.phase == Phase::Runs
    }

    pub(super) fn signal(&mut self, signal: Signal, sender: Sender) -> Step {
        let may_end = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].contains(&signal);
        // Of the others it is not known what the command makes of them.
        if signal == Signal::SIGTERM || (self.phase == Phase::Restarts && may_end) {
            self.phase = Phase::Ends;
        }
        if sender == Sender::Other { Step::PassOn } else { Step::Nothing }
    }

    pub(super) fn changed(&mut self, change: Change) -> Step {
        match change {
            _ if !self.takes_changes() => Step::Nothing,
            Change::Files if self.signals => Step::Renew,
            Change::Files | Change::Fixed if self.restarts => {
                self.phase = Phase::Restarts;
                Step::Stop
            }
            Change::Nothing | Change::Files | Change::Fixed => Step::Nothing,
        }
    }

    /// The time is over in which it was to end.
    pub(super) fn too_long(&self) -> Step {
        if self.phase == Phase::Restarts { Step::Kill } else { Step::Nothing }
    }

    pub(super) fn child(&mut self, turn: Turn) -> Step {
        let ended = match turn {
            // Job control, by a key or by itself. Whoever stops it by SIGSTOP means it alone.
            Turn::Stopped(signal) => {
                let by_job_control = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
                return if by_job_control { Step::StandStill } else { Step::Nothing };
            }
            Turn::Exited(code) => Ended::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            Turn::Killed(signal) => Ended::Killed(signal),
        };
        if self.phase == Phase::Restarts {
            self.phase = Phase::Runs;
            Step::Start
        } else {
            Step::End(ended)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: Turn = Turn::Exited(3);

    #[test]
    fn a_change_restarts_and_an_end_of_its_own_is_the_end() {
        let mut course = Course::new(true, false);
        assert_eq!(course.changed(Change::Nothing), Step::Nothing);
        assert_eq!(course.changed(Change::Files), Step::Stop);
        assert_eq!(course.changed(Change::Fixed), Step::Nothing, "it is under way");
        assert_eq!(course.too_long(), Step::Kill);
        assert_eq!(course.child(Turn::Killed(9)), Step::Start);
        assert_eq!(course.too_long(), Step::Nothing);
        assert_eq!(course.child(ENDED), Step::End(Ended::Exited(3)));
    }

    #[test]
    fn files_alone_are_renewed_and_what_is_fixed_needs_a_restart() {
        let mut both = Course::new(true, true);
        assert_eq!(both.changed(Change::Files), Step::Renew);
        assert_eq!(both.changed(Change::Fixed), Step::Stop);
        assert_eq!(Course::new(false, true).changed(Change::Files), Step::Renew);
    }

    #[test]
    fn what_was_told_to_end_for_good_is_not_started_again() {
        for before in [true, false] {
            for signal in [Signal::SIGTERM, Signal::SIGINT] {
                let mut course = Course::new(true, false);
                if before {
                    course.signal(signal, Sender::Other);
                }
                let step = course.changed(Change::Fixed);
                assert_eq!(
                    step == Step::Nothing,
                    before && signal == Signal::SIGTERM,
                    "an interrupt may mean anything"
                );
                course.signal(signal, Sender::Terminal);
                assert_eq!(course.child(ENDED), Step::End(Ended::Exited(3)));
            }
        }
    }

    #[test]
    fn a_signal_that_the_command_has_itself_is_not_passed_on() {
        let mut course = Course::new(false, false);
        assert_eq!(course.signal(Signal::SIGINT, Sender::Terminal), Step::Nothing);
        assert_eq!(course.signal(Signal::SIGTSTP, Sender::Command), Step::Nothing);
        assert_eq!(course.signal(Signal::SIGINT, Sender::Other), Step::PassOn);
    }

    #[test]
    fn only_job_control_has_us_stand_still() {
        let mut course = Course::new(true, false);
        assert_eq!(course.child(Turn::Stopped(libc::SIGTSTP)), Step::StandStill);
        assert_eq!(course.child(Turn::Stopped(libc::SIGSTOP)), Step::Nothing);
        course.changed(Change::Fixed);
        assert_eq!(course.child(Turn::Stopped(libc::SIGSTOP)), Step::Nothing);
        assert_eq!(course.child(ENDED), Step::Start);
    }
}
