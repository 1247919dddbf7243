//! `trayvault seal`.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::Args;

use super::{Code, Connected, Failure, input::Input, output, recipient};
use crate::{
    sealed::SealError,
    system::files::{self, FileError},
};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// What to seal; - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// A new file to write to, which nobody else may read, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// To whom to seal (age1…), instead of asking the daemon
    #[arg(long)]
    recipient: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { connected, file, output, recipient } = arguments;
    if output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::new(Code::Usage, "what is sealed is not for a terminal")
            .hint("name a file with --output FILE, or pipe it on".to_owned()));
    }
    let input = Input::open(file)?;
    if input.is_sealed() {
        return Err(
            Failure::new(Code::Data, "it is sealed already").hint("trayvault drop takes it as it is".to_owned())
        );
    }
    let recipient = recipient::find(recipient.as_deref(), connected)?;
    let reader = input.into_reader();
    match output {
        None => recipient.seal_from(reader, io::stdout().lock()).map_err(|error| failure(&error)),
        Some(path) => {
            files::create_new_with(path, 0o600, |file| recipient.seal_from(reader, file).map_err(io::Error::other))
                .map_err(|error| cant_create(&error))?;
            output::line(&format!("wrote {}", path.display()))
        }
    }
}

pub(super) fn failure(error: &SealError) -> Failure {
    Failure::of(Code::Io, error)
}

/// Why a file that is not to replace another was not made.
pub(super) fn cant_create(error: &FileError) -> Failure {
    let hint = error.is_already_there().then(|| "name one that is not there yet".to_owned());
    Failure::of(Code::CantCreate, error).hint(hint)
}
