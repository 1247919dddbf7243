//! `trayvault init`.

use clap::Args;

use super::{Code, Configured, Failure, output};
use crate::{
    audit::AuditError,
    config::Config,
    offline::{self, OfflineError},
};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.configured.config).map_err(|error| failure(&error.into()))?;
    let made = offline::init(&config).map_err(|error| failure(&error))?;
    if arguments.json {
        return output::json(&made);
    }
    if let Some(path) = &made.key_file {
        output::line(&format!("made the key {}", path.display()))?;
        output::line("keep a copy of it elsewhere: without it the vault can't be opened")?;
    }
    output::line(&format!("made the vault {}", made.vault_id))?;
    output::line(&format!("in {}", made.state_directory.display()))?;
    output::line("next: trayvault check, then trayvault run")
}

/// What a person reads when something could not be done without a daemon.
pub(super) fn failure(error: &OfflineError) -> Failure {
    let code = match error {
        OfflineError::Config(_) | OfflineError::Unlock(_) => Code::Config,
        OfflineError::NotASource => Code::Usage,
        OfflineError::Vault(_) | OfflineError::EarlierLog(_) => Code::Data,
        OfflineError::File(_) | OfflineError::Audit(AuditError::File(_)) => Code::CantCreate,
        OfflineError::Crypto(_) => Code::System,
        OfflineError::Audit(_) | OfflineError::UnreadableLog(_) => Code::Io,
    };
    Failure::of(code, error).hint(error.hint())
}
