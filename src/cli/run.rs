//! `trayvault run`.

use clap::Args;

use super::{Code, Configured, Failure};
use crate::daemon::{self, DaemonError};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Go on, this once, with a cache or a journal from before what the audit log knows of
    #[arg(long)]
    accept_rollback: bool,
    /// Never ask Tray: answer from the sealed cache only, and let the drop directory wait
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { configured, accept_rollback, offline } = arguments;
    daemon::run(&configured.config, *accept_rollback, *offline).map_err(|error| {
        let code = match error {
            DaemonError::Config(_) | DaemonError::Unlock(_) | DaemonError::Token(_) | DaemonError::Handover(_) => {
                Code::Config
            }
            DaemonError::Offline(ref error) => return super::init::failure(error),
            DaemonError::Vault(_) | DaemonError::Stores(_) => Code::Data,
            DaemonError::File(_) | DaemonError::Ingest(_) => Code::CantCreate,
            DaemonError::Audit(_) => Code::Io,
            DaemonError::Bind(_) | DaemonError::Running(_) => Code::Unavailable,
            DaemonError::Client(_) | DaemonError::System(..) => Code::System,
            DaemonError::Died { .. } | DaemonError::CutOff(_) => Code::Software,
        };
        Failure::of(code, &error).hint(error.hint())
    })
}
