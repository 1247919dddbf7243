//! The command line: one file a command. An error is one clause and a `hint:`; exit codes follow sysexits(3).

mod api;
mod audit;
mod backup;
mod check;
#[cfg(feature = "emulator")]
mod demo;
mod doctor;
mod drop;
#[cfg(feature = "emulator")]
mod emulator;
mod exec;
mod get;
mod ingest;
mod init;
mod input;
mod key;
mod list;
mod lock;
mod openapi;
mod output;
mod plan;
mod recipient;
mod run;
mod seal;
mod status;
mod sync;
mod top;
#[cfg(feature = "emulator")]
mod trial;
mod why;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Args, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{clauses::clauses, config, system::memory};

/// Keeps Tray authentications in an encrypted local cache, for the services on this host.
#[derive(Parser)]
#[command(name = "trayvault", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The command line's definition, from which manual pages and completions are made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Which configuration a command works by.
#[derive(Args)]
struct Configured {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "TRAYVAULT_CONFIG",
        hide_env_values = true,
        default_value = config::DEFAULT_PATH
    )]
    config: PathBuf,
}

/// Which daemon a command asks.
#[derive(Args)]
struct Connected {
    #[command(flatten)]
    configured: Configured,
    /// The daemon's socket, instead of the configuration's
    #[arg(long, value_name = "PATH", env = "TRAYVAULT_SOCKET", hide_env_values = true)]
    socket: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Make the vault: its key file if there is none, its header, its audit log
    Init(init::Arguments),
    /// Check the configuration, and what it names on this host
    Check(check::Arguments),
    /// Check the host as a whole: kernel, limits, Tray, tokens, the daemon
    Doctor(check::Arguments),
    /// Run the daemon
    Run(run::Arguments),
    /// Show how the daemon stands
    Status(status::Arguments),
    /// Watch how the daemon stands, live
    Top(top::Arguments),
    /// List authentications, without secrets
    List(list::Arguments),
    /// Read one authentication
    Get(get::Arguments),
    /// Run a command with secrets in its environment or in files
    Exec(exec::Arguments),
    /// Synchronise with Tray now
    Sync(sync::Arguments),
    /// Drop a document, sealed, or show what it would do
    Drop(drop::Arguments),
    /// Documents that are not finished, and rejected ones
    #[command(subcommand)]
    Ingest(ingest::Command),
    /// Seal a document to the vault, to drop it from anywhere
    Seal(seal::Arguments),
    /// Print the recipient that documents are sealed to
    Recipient(recipient::Arguments),
    /// Explain a decision by the rule that made it
    #[command(subcommand)]
    Why(why::Command),
    /// List who may do what with an authentication, by which rules
    WhoCan(why::About),
    /// Wipe the daemon's keys and tokens: it answers no secret until it is unlocked
    Lock(lock::Arguments),
    /// Unlock the daemon's vault again
    Unlock(lock::Arguments),
    /// The vault's key slots, and the rotation of its keys
    #[command(subcommand)]
    Key(key::Command),
    /// Write a sealed copy of everything to a file; the daemon may run meanwhile
    Backup(backup::Arguments),
    /// Put a backup back into an empty state directory
    Restore(backup::Arguments),
    /// Look into the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Print the description of api.sock, as OpenAPI
    Openapi,
    /// Run an emulator of the Tray API on loopback, to try things out
    #[cfg(feature = "emulator")]
    Emulator(emulator::Arguments),
    /// Show the whole way once: emulator, daemon, and what they do
    #[cfg(feature = "emulator")]
    Demo(demo::Arguments),
}

/// Why a command failed: what a person reads, and the exit code.
#[derive(Debug)]
struct Failure {
    message: String,
    hint: Option<String>,
    code: Code,
}

/// Exit codes of sysexits(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// `EX_USAGE`.
    Usage = 64,
    /// `EX_DATAERR`.
    Data = 65,
    /// `EX_NOINPUT`.
    NoInput = 66,
    /// `EX_UNAVAILABLE`.
    Unavailable = 69,
    /// `EX_SOFTWARE`.
    Software = 70,
    /// `EX_OSERR`.
    System = 71,
    /// `EX_CANTCREAT`.
    CantCreate = 73,
    /// `EX_IOERR`.
    Io = 74,
    /// `EX_NOPERM`.
    NoPermission = 77,
    /// `EX_CONFIG`.
    Config = 78,
    /// A command was found and can't be run, as shells have it.
    NotExecutable = 126,
    /// There is no such command, as shells have it.
    NoCommand = 127,
    /// Ended by Ctrl-C, as shells have it: 128 and the signal's number.
    #[cfg(feature = "emulator")]
    Interrupted = 130,
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code }
    }

    /// An error with its causes, each a clause.
    fn of(code: Code, error: &dyn std::error::Error) -> Self {
        Self::new(code, clauses(error))
    }

    fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::of(Code::Io, &error)
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return fail(&usage(error)),
        Err(help_or_version) => {
            // Nothing can be said if standard output is closed.
            let _ = help_or_version.print();
            return ExitCode::SUCCESS;
        }
    };
    // Commands handle keys and credentials too. Best effort here: the daemon insists.
    let _ = memory::forbid_dumps();
    match dispatch(&cli.command) {
        Ok(code) => code,
        // Whoever read the output has seen enough: head(1), a pager.
        Err(failure) if failure.message.ends_with("Broken pipe (os error 32)") => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let hint = failure.hint.as_ref().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
    // Nothing can be said if standard error is closed.
    let _ = write!(io::stderr().lock(), "error: {}\n{hint}", failure.message);
    ExitCode::from(failure.code as u8)
}

/// What is wrong with the arguments, in one clause: what clap says before it shows the usage. Values are not quoted: one may
/// be a secret in the wrong place, and standard error may be a log.
fn usage(mut error: clap::Error) -> Failure {
    let quoted = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => ContextKind::InvalidValue,
    };
    // An option's name is no value; an empty value is one that is missing.
    if matches!(error.get(quoted), Some(ContextValue::String(text)) if !text.is_empty() && !text.starts_with('-')) {
        error.insert(quoted, ContextValue::String("…".to_owned()));
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let said = text.split("\n\n").next().unwrap_or_default();
    let clause = said.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    Failure::new(Code::Usage, clause).hint("--help shows what there is".to_owned())
}

fn dispatch(command: &Command) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Exec(arguments) => return exec::run(arguments),
        Command::Init(arguments) => init::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::List(arguments) => list::run(arguments),
        Command::Get(arguments) => get::run(arguments),
        Command::Sync(arguments) => sync::run(arguments),
        Command::Drop(arguments) => drop::run(arguments),
        Command::Ingest(command) => ingest::run(command),
        Command::Seal(arguments) => seal::run(arguments),
        Command::Recipient(arguments) => recipient::run(arguments),
        Command::Why(command) => why::run(command),
        Command::WhoCan(about) => why::who_can(about),
        Command::Lock(arguments) => lock::lock(arguments),
        Command::Unlock(arguments) => lock::unlock(arguments),
        Command::Key(command) => key::run(command),
        Command::Backup(arguments) => backup::backup(arguments),
        Command::Restore(arguments) => backup::restore(arguments),
        Command::Audit(command) => audit::run(command),
        Command::Openapi => openapi::run(),
        #[cfg(feature = "emulator")]
        Command::Emulator(arguments) => emulator::run(arguments),
        #[cfg(feature = "emulator")]
        Command::Demo(arguments) => demo::run(arguments),
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
