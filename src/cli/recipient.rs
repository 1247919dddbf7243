//! `trayvault recipient`.

use clap::Args;
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{Code, Connected, Failure, api, output};
use crate::sealed::Recipient;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

/// The daemon's answer.
#[derive(Serialize, Deserialize)]
struct Told {
    recipient: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let told: Told = api::ask(&arguments.connected, Method::GET, "/v1/recipient")?;
    if arguments.json { output::json(&told) } else { output::line(&told.recipient) }
}

/// The recipient that was given, or the daemon's.
pub(super) fn find(given: Option<&str>, connected: &Connected) -> Result<Recipient, Failure> {
    if let Some(given) = given {
        let hint = "trayvault recipient prints the vault's".to_owned();
        return given.parse().map_err(|error| Failure::of(Code::Usage, &error).hint(hint));
    }
    let told: Told = api::ask(connected, Method::GET, "/v1/recipient").map_err(|failure| {
        let hint = "start it with: trayvault run; or give --recipient, which trayvault recipient prints".to_owned();
        if failure.code == Code::Unavailable { failure.hint(hint) } else { failure }
    })?;
    told.recipient.parse().map_err(|_| api::incomprehensible())
}
