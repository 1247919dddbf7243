//! `trayvault audit`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Code, Configured, Failure, init, output};
use crate::{audit::Verdict, config::Config, offline};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Verify that every entry is as it was written, in its place
    Verify(VerifyArguments),
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    configured: Configured,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Verify(arguments) = command;
    let config = Config::load(&arguments.configured.config).map_err(|error| init::failure(&error.into()))?;
    let verdict = offline::verify_audit(&config).map_err(|error| init::failure(&error))?;
    if arguments.json {
        output::json(&Shown::from(&verdict))?;
    }
    match verdict {
        Verdict::Intact { .. } if arguments.json => Ok(()),
        Verdict::Intact { entries } => output::line(&format!("the audit log is intact: {entries} entries")),
        Verdict::Broken { line, fault } => {
            Err(Failure::new(Code::Data, format!("the audit log is broken at line {line}: {fault}"))
                .hint("what stands before that line is as it was written".to_owned()))
        }
    }
}

#[derive(Serialize)]
struct Shown {
    intact: bool,
    entries: Option<u64>,
    line: Option<u64>,
    fault: Option<String>,
}

impl From<&Verdict> for Shown {
    fn from(verdict: &Verdict) -> Self {
        match *verdict {
            Verdict::Intact { entries } => Self { intact: true, entries: Some(entries), line: None, fault: None },
            Verdict::Broken { line, fault } => {
                Self { intact: false, entries: None, line: Some(line), fault: Some(fault.to_string()) }
            }
        }
    }
}
