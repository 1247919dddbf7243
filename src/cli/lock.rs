//! `trayvault lock` and `trayvault unlock`.

use clap::Args;
use hyper::Method;

use super::{Connected, Failure, api, init, output};
use crate::unlock;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
}

pub(super) fn lock(arguments: &Arguments) -> Result<(), Failure> {
    api::tell(&arguments.connected, Method::POST, "/v1/lock")?;
    output::line("the vault is locked: keys and tokens are wiped, and no secret is answered")
}

pub(super) fn unlock(arguments: &Arguments) -> Result<(), Failure> {
    // The daemon has no terminal: where its configuration has it ask, the one who runs this is asked.
    if api::try_unlock(&arguments.connected, None)? == api::Unlocked::KeyNeeded {
        let passphrase = unlock::ask_passphrase().map_err(|error| init::failure(&error.into()))?;
        api::try_unlock(&arguments.connected, Some(passphrase))?;
    }
    output::line("the vault is unlocked")
}
