//! `trayvault audit`.

mod export;
mod filter;
mod report;
mod tail;
mod verify;

use clap::Subcommand;

use super::{Code, Failure, init};
use crate::{
    audit::{Fault, Place, Record, VerifyError},
    config::Config,
    offline::{self, OfflineError},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Verify that every entry is as it was written, in its place
    Verify(verify::Arguments),
    /// Print the last entries, and those to come
    Tail(tail::Arguments),
    /// Who read an authentication: from verified entries only
    Report(report::Arguments),
    /// Print every entry, as far as they are verified, as JSON or CSV
    Export(export::Arguments),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Verify(arguments) => verify::run(arguments),
        Command::Tail(arguments) => tail::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Export(arguments) => export::run(arguments),
    }
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        init::failure(&error)
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        init::failure(&error.into())
    }
}

/// Gives each verified entry; then an error, if there is one that is not as it was written.
fn verified(config: &Config, each: impl FnMut(Record) -> Result<(), Failure>) -> Result<(), Failure> {
    match offline::read_audit(config, each)? {
        None => Ok(()),
        Some((at, fault)) => Err(broken(&at, fault)),
    }
}

fn broken(at: &Place, fault: Fault) -> Failure {
    let Place { file, line, sequence } = at;
    Failure::new(Code::Data, format!("the audit log is broken at line {line} of {file}, entry {sequence}: {fault}"))
        .hint("what stands before that line is as it was written".to_owned())
}
