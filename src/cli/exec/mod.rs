//! `trayvault exec`: a command with secrets in its environment or in files, and nothing else of ours.

mod course;
mod launch;
mod look;
mod news;
mod supervise;
mod values;
mod wanted;

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use clap::Args;
use nix::sys::signal::Signal;

use super::{Code, Connected, Failure, api};
use crate::system::child;
use supervise::Supervisor;
use wanted::{Form, Source, Wanted};

/// What shells add to the number of the signal that ended a command, to make an exit code of it.
const KILLED: u8 = 128;

const NOTES: &str = "\
Text is given as it is; numbers, objects and lists as JSON; a null is refused.
The command has its caller's environment, without TRAYVAULT_*, and its caller's
open files. Its exit code is the exit code; 127 says there is no such command,
126 that it can't be run.";

#[derive(Args)]
#[command(after_help = NOTES)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// Put a value into an environment variable
    #[arg(long = "set", value_name = "VAR=ID/POINTER", value_parser = wanted::field)]
    variables: Vec<Source>,
    /// Put a value, or all of an authentication, into a sealed file in memory that the command
    /// inherits, and its path into a variable
    #[arg(long = "file", value_name = "VAR=ID[/POINTER]", value_parser = wanted::field_or_all)]
    files: Vec<Source>,
    /// As --file, in a private directory on tmpfs: for programs that close what they inherit, and
    /// for a file that is renewed
    #[arg(long = "tmpfs-file", value_name = "VAR=ID[/POINTER]", value_parser = wanted::field_or_all)]
    tmpfs_files: Vec<Source>,
    /// When a value changes, end the command (SIGTERM, SIGKILL after 10s) and start it anew
    #[arg(long)]
    restart_on_change: bool,
    /// When a value changes, renew each --tmpfs-file and send the command a signal, such as HUP
    #[arg(long, value_name = "SIGNAL", value_parser = wanted::signal)]
    signal_on_change: Option<Signal>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let wanted = arguments.wanted()?;
    let socket = api::socket_path(&arguments.connected)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let is_followed = arguments.restart_on_change || arguments.signal_on_change.is_some();
    let is_to_be_removed = wanted.iter().any(|one| one.form == Form::TmpfsFile);
    if !is_followed && !is_to_be_removed {
        // Nothing is left to do once it runs: it takes our place, and with it our signals, our exit code and our memory.
        let values = runtime.block_on(values::read(&socket, &wanted))?;
        drop(runtime);
        return Err(launch::in_our_place(&arguments.command, &wanted, values));
    }
    let ended = runtime.block_on(async {
        let supervisor = Supervisor {
            command: &arguments.command,
            wanted: wanted.into(),
            socket: Arc::from(socket.as_path()),
            restarts: arguments.restart_on_change,
            signal: arguments.signal_on_change,
        };
        supervisor.run(is_followed).await
    })?;
    drop(runtime);
    match ended {
        Ended::Exited(code) => Ok(ExitCode::from(code)),
        Ended::Killed(signal) => {
            child::end_by(signal);
            Ok(ExitCode::from(KILLED.wrapping_add(u8::try_from(signal).unwrap_or_default())))
        }
    }
}

impl Arguments {
    /// All that is wanted, if it makes sense together.
    fn wanted(&self) -> Result<Vec<Wanted>, Failure> {
        let wrong = |message: String, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint.to_owned()));
        let of = |form, sources: &[Source]| sources.iter().map(|one| Wanted::new(form, one)).collect::<Vec<_>>();
        let mut wanted = of(Form::Variable, &self.variables);
        wanted.extend(of(Form::File, &self.files));
        wanted.extend(of(Form::TmpfsFile, &self.tmpfs_files));
        if wanted.is_empty() {
            return wrong("no value is named".to_owned(), "name one with --set VAR=ID/POINTER or --file VAR=ID");
        }
        let mut names: Vec<_> = wanted.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        if let Some([name, ..]) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return wrong(format!("{name} is given twice"), "each variable has one value");
        }
        let fixed = wanted.iter().find(|one| one.form != Form::TmpfsFile);
        match (self.signal_on_change, self.restart_on_change, fixed) {
            (Some(_), false, Some(fixed)) => wrong(
                format!("a signal can't give the running command another {}", fixed.name),
                "use --tmpfs-file for it, or add --restart-on-change",
            ),
            (Some(_), true, _) if self.tmpfs_files.is_empty() => wrong(
                "--signal-on-change renews each --tmpfs-file, and there is none".to_owned(),
                "--restart-on-change alone does what this would",
            ),
            _ => Ok(wanted),
        }
    }
}
