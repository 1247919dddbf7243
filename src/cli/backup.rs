//! `trayvault backup` and `trayvault restore`.

use std::path::PathBuf;

use clap::Args;

use super::{Code, Configured, Failure, init, output};
use crate::{
    backup::{self, BackupError},
    config::Config,
};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// The backup
    file: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn backup(arguments: &Arguments) -> Result<(), Failure> {
    let manifest = backup::backup(&load(arguments)?, &arguments.file).map_err(|error| failure(&error))?;
    if arguments.json {
        return output::json(&manifest);
    }
    output::line(&format!("wrote {}", arguments.file.display()))?;
    output::line("it is opened by the key slots that the vault has now: keep a key of one of them elsewhere")
}

pub(super) fn restore(arguments: &Arguments) -> Result<(), Failure> {
    let restored = backup::restore(&load(arguments)?, &arguments.file).map_err(|error| failure(&error))?;
    if arguments.json {
        return output::json(&restored);
    }
    output::line(&format!("restored the vault {}, as it was at {:.0}", restored.vault, restored.made_at))?;
    if restored.rejected > 0 {
        let count = restored.rejected;
        output::line(&format!(
            "dropped documents that were not settled then: {count}. They may have been sent since:"
        ))?;
        output::line("the daemon leaves them in the drop directory's rejected/, for you to compare with Tray")?;
    }
    output::line("next: trayvault check, then trayvault run")
}

fn load(arguments: &Arguments) -> Result<Config, Failure> {
    Config::load(&arguments.configured.config).map_err(|error| init::failure(&error.into()))
}

fn failure(error: &BackupError) -> Failure {
    let code = match error {
        BackupError::Offline(offline) => return init::failure(offline).hint(error.hint()),
        BackupError::File(_) => Code::CantCreate,
        BackupError::Copy(..)
        | BackupError::Journal(_)
        | BackupError::NotABackup { .. }
        | BackupError::Changed { .. } => Code::Data,
        BackupError::Io { .. } => Code::Io,
        BackupError::Rotating | BackupError::Underway | BackupError::Running(_) => Code::Unavailable,
    };
    Failure::of(code, error).hint(error.hint())
}
