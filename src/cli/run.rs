//! `trayvault run`.

use clap::Args;

use super::{Code, Configured, Failure};
use crate::daemon::{self, DaemonError};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    daemon::run(&arguments.configured.config).map_err(|error| {
        let code = match error {
            DaemonError::Config(_) | DaemonError::Unlock(_) | DaemonError::Token(..) | DaemonError::NotAToken(..) => {
                Code::Config
            }
            DaemonError::Vault(_) | DaemonError::Cache(_) => Code::Data,
            DaemonError::File(_) | DaemonError::Offline(_) | DaemonError::Ingest(_) => Code::CantCreate,
            DaemonError::Audit(_) => Code::Io,
            DaemonError::Bind(_) | DaemonError::Running(_) => Code::Unavailable,
            DaemonError::Client(_) | DaemonError::System(..) => Code::System,
            DaemonError::Died { .. } | DaemonError::CutOff(_) => Code::Software,
        };
        Failure::of(code, &error).hint(error.hint())
    })
}
